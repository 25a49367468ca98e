/** Notices newer checkpoints of a model, as a run writes them, and keeps a picture of each. */

import { element, make } from './elements.js';

const LOOK_MS = 10_000;
const MOST = 48; // pictures that are kept

export class Snapshots {
  /**
   * @param {Service} service @param {ServedModels} models @param {Notices} notices
   * @param {() => {picture: Picture | null, recipe: Recipe}} shown
   * @param {() => void} redraw draws with the newest checkpoint
   */
  constructor(service, models, notices, shown, redraw) {
    this.service = service;
    this.models = models;
    this.notices = notices;
    this.shown = shown;
    this.redraw = redraw;
    this.told = ''; // the fingerprint of which the reader has been told
    this.key = ''; // the recipe of the pictures that are kept
    /** @type {Map<string, string>} their addresses by checkpoint */
    this.kept = new Map();
    setInterval(() => void this.look(), LOOK_MS);
    document.addEventListener('visibilitychange', () => void this.look());
  }

  /** Learns what is served now; a page that nobody sees asks nothing. */
  async look() {
    if (document.hidden) return;
    await this.models.learn({ quiet: true }).catch(() => {}); // the next look may succeed
    const { picture } = this.shown();
    const newest = this.models.all.find(({ name }) => name === picture?.model);
    const drawer = this.models.of(picture);
    if (newest === undefined || drawer === null || this.told === newest.fingerprint) return;
    if (drawer.fingerprint === newest.fingerprint) return;
    if (!this.notices.place.hidden) return; // something is wrong: that comes first
    this.told = newest.fingerprint;
    const remedy = { label: 'Draw this picture with it', act: this.redraw };
    this.notices.tell(`A newer checkpoint of ${newest.name} has arrived.`, [remedy]);
    await this.keepNewest(newest).catch(() => {});
  }

  /** @param {Model} newest */
  async keepNewest({ name }) {
    const { recipe } = this.shown();
    const manner = { bulk: true, quiet: true };
    const picture = await this.service.generate({ ...recipe, model: name }, manner);
    if (JSON.stringify(recipe) === JSON.stringify(this.shown().recipe)) this.keep(picture, recipe);
  }

  /**
   * Keeps a picture, and shows all that are kept of its recipe; those of another one are dropped.
   * @param {Picture} picture @param {Recipe} recipe
   */
  keep(picture, recipe) {
    const { kept } = this;
    const key = JSON.stringify({ ...recipe, model: picture.model });
    while (kept.size > (key === this.key ? MOST : 0)) {
      const [[fingerprint, address]] = kept;
      URL.revokeObjectURL(address);
      kept.delete(fingerprint);
    }
    this.key = key;
    const fingerprint = picture.id.split('-')[0];
    if (!kept.has(fingerprint)) kept.set(fingerprint, URL.createObjectURL(picture.blob));
    const items = [...kept].map(([one, src]) => {
      const image = make('img', { src, alt: '', width: 96, height: 96 });
      return make('li', {}, image, this.models.nameOfSnapshot(one));
    });
    element('snapshot-list').replaceChildren(...items);
    element('snapshots').hidden = items.length < 2;
  }
}
