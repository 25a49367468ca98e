/** What the service offers: its models and the classes of each. */

/**
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
    /** @type {Map<string, ClassEntry[]>} the classes of each model */
    this.classes = new Map();
  }

  /** Learns what models there are. */
  async learn() {
    this.all = (await this.service.models()).models;
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

  /** @param {string} model @param {string | null} key the number of a class */
  nameOf(model, key) {
    const known = this.classes.get(model) ?? [];
    return known.find((one) => String(one.index) === key)?.name ?? '';
  }
}
