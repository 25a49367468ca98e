/** What the service offers: its models and the classes of each. */

const PREFIX = 12; // digits of a fingerprint in an image id

export class ServedModels {
  /** @param {Service} service */
  constructor(service) {
    this.service = service;
    /** @type {Model[]} */
    this.all = [];
    this.default = ''; // the model that draws where a request names none
    /** @type {Map<string, ClassEntry[]>} the classes of each model */
    this.classes = new Map();
    /** @type {Map<string, Model>} all that have been served, by the beginning of the fingerprint */
    this.seen = new Map();
  }

  /** @param {Manner} [manner] */
  async learn(manner) {
    const { default: first, models } = await this.service.models(manner);
    this.default = first;
    this.all = models;
    for (const model of models) this.seen.set(model.fingerprint.slice(0, PREFIX), model);
  }

  /** @param {string} model @param {AbortSignal} signal */
  async learnClasses(model, signal) {
    if (this.classes.has(model)) return;
    this.classes.set(model, await this.service.classes('', model, { signal }));
  }

  /**
   * The model that drew a picture, also one that is no longer served.
   * @param {Picture | null} picture
   */
  of(picture) {
    return this.seen.get(picture?.id.split('-')[0] ?? '') ?? null;
  }

  /** @param {string} prefix of its fingerprint */
  nameOfSnapshot(prefix) {
    const images = this.seen.get(prefix)?.facts.images_seen;
    return images === undefined ? prefix : `${images.toLocaleString('en')} images`;
  }

  /**
   * The model that draws the next pictures after this one; null where requests need not name it.
   * @param {Picture | null} picture @param {string | null} chosen
   */
  after(picture, chosen) {
    const name = picture?.model ?? chosen;
    return this.default && name !== this.default ? name : chosen;
  }

  /** @param {string} model @param {string | null} key the number or the name of a class */
  nameOf(model, key) {
    const known = this.classes.get(model) ?? [];
    return known.find((one) => String(one.index) === key || one.name === key)?.name ?? '';
  }

  /**
   * The name of a class, or those of a mix with their shares.
   * @param {string} model @param {{classKey: string, mix: string | null}} classes
   */
  namesOf(model, { classKey, mix }) {
    if (mix === null) return this.nameOf(model, classKey);
    const parts = mix.split(',').map((one) => one.split(':'));
    return parts.map(([key, share]) => `${this.nameOf(model, key)}:${share}`).join();
  }

  /**
   * What another model changes: classes have other numbers there, but the same names; the model
   * that the picture was compared with takes the place of the first.
   * @param {string} model @param {State} state @param {Picture | null} picture
   */
  changesFor(model, state, picture) {
    const before = picture?.model ?? state.model ?? '';
    return {
      model,
      classKey: this.nameOf(before, state.classKey) || state.classKey,
      mix: state.mix && this.namesOf(before, state),
      corners: [],
      toClass: this.nameOf(before, state.toClass) || state.toClass,
      second: state.second === model ? before || null : state.second,
    };
  }
}
