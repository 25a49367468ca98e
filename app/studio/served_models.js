/** What the service offers: its models and the classes of each. */

/**
 * @typedef {import('./address.js').State} State
 * @typedef {import('./service.js').ClassEntry} ClassEntry
 * @typedef {import('./service.js').Model} Model
 * @typedef {import('./service.js').Picture} Picture
 * @typedef {import('./service.js').Service} Service
 */

export class ServedModels {
  /** @param {Service} service */
  constructor(service) {
    this.service = service;
    /** @type {Model[]} */
    this.all = [];
    this.default = ''; // the model that draws where a request names none
    /** @type {Map<string, ClassEntry[]>} the classes of each model */
    this.classes = new Map();
  }

  /** Learns what models there are. */
  async learn() {
    const { default: first, models } = await this.service.models();
    this.default = first;
    this.all = models;
  }

  /** @param {string} model @param {AbortSignal} signal */
  async learnClasses(model, signal) {
    if (this.classes.has(model)) return;
    this.classes.set(model, await this.service.classes('', model, { signal }));
  }

  /** The model that drew a picture. @param {Picture | null} picture */
  of(picture) {
    const fingerprint = picture?.id.split('-')[0];
    return this.all.find((one) => one.fingerprint.slice(0, 12) === fingerprint) ?? null;
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
   * What changes when another model draws: classes keep their names, which have other numbers
   * there, and if the picture was compared with that model, the two change places.
   * @param {string} model @param {State} state @param {Picture | null} picture
   * @returns {Partial<State>}
   */
  changesFor(model, state, picture) {
    const before = picture?.model ?? state.model ?? '';
    return {
      model,
      classKey: this.nameOf(before, state.classKey) || state.classKey,
      toClass: this.nameOf(before, state.toClass) || state.toClass,
      second: state.second === model ? before || null : state.second,
    };
  }
}
