/** The same class, seed and truncation drawn by another model, beside the picture. */

import { AttentionCanvas } from './attention_canvas.js';
import { AttentionMaps } from './attention_maps.js';
import { eachFrame, element, inWords, put, throttled } from './elements.js';
import { listenToPointer } from './pointing.js';
import { numbersInWords } from './readings.js';
import { isAbort, Problem } from './service.js';
import { spotsOf, viewOf } from './shown_maps.js';

const READ_MS = 120; // faster than anybody reads, text would only delay the picture

export class SecondPicture {
  /**
   * @param {State} state @param {Service} service @param {ServedModels} models
   * @param {Stage} stage whose points and pins it has too
   */
  constructor(state, service, models, stage) {
    this.state = state;
    this.service = service;
    this.models = models;
    this.stage = stage;
    this.place = element('second');
    const canvas = element('second-picture', HTMLCanvasElement);
    this.canvas = new AttentionCanvas(canvas);
    /** @type {ImageBitmap | null} */
    this.picture = null;
    /** @type {AttentionMaps | null} */
    this.maps = null;
    this.read = throttled(READ_MS, () => this.readPoint());
    listenToPointer(stage, canvas);
    for (const kind of ['point', 'pins']) stage.addEventListener(kind, () => this.redraw());
    this.canvas.fit(canvas, () => this.redraw());
  }

  /**
   * Draws it, if the reader wants one; classes of two models are the same if their names are.
   * @param {Recipe} recipe of the picture @param {string} className @param {AbortSignal} signal
   */
  async draw(recipe, className, signal) {
    const { second } = this.state;
    this.place.hidden = second === null;
    if (second === null) return;
    this.place.dataset.state = 'drawing';
    put('second-name', second);
    try {
      const mix = recipe.mix && className;
      await this.load({ ...recipe, classKey: className, mix, model: second }, signal);
      this.place.dataset.state = 'drawn';
    } catch (error) {
      if (signal.aborted || isAbort(error)) return;
      this.setPicture(null);
      this.place.dataset.state = 'failed';
      put('second-numbers', inWords(error));
    }
  }

  /** @param {Recipe} recipe @param {AbortSignal} signal */
  async load(recipe, signal) {
    const { id, blob } = await this.service.generate(recipe, { signal });
    const bitmap = await createImageBitmap(blob);
    const maps = await this.mapsOf(id, signal);
    if (signal.aborted) {
      bitmap.close();
      throw signal.reason;
    }
    this.maps = maps;
    this.setPicture(bitmap);
  }

  /** @param {string} id @param {AbortSignal} signal */
  async mapsOf(id, signal) {
    const { layer, second } = this.state;
    const model = this.models.all.find(({ name }) => name === second);
    try {
      const chosen = layer < (model?.attention_layers.length ?? 0) ? layer : -1;
      const { shape, body } = await this.service.attention(id, chosen, { signal });
      return new AttentionMaps(body, shape);
    } catch (error) {
      if (error instanceof Problem && error.status === 422) return null; // it has no attention
      throw error;
    }
  }

  /** @param {ImageBitmap | null} picture */
  setPicture(picture) {
    this.picture?.close();
    this.picture = this.canvas.picture = picture;
    this.redraw();
  }

  redraw = eachFrame(() => {
    if (this.place.hidden) return;
    this.canvas.draw(viewOf(this.maps, spotsOf(this.stage), this.stage.settings));
    this.read();
  });

  readPoint() {
    if (this.place.hidden || this.picture === null) return;
    const { at } = spotsOf(this.stage);
    if (this.maps === null) {
      put('second-numbers', 'It has no attention to show.');
    } else if (at === null) {
      put('second-numbers', '');
    } else {
      const numbers = this.maps.numbersAt(at.x, at.y, this.stage.settings.turned);
      const [, entropy, most] = numbersInWords(numbers, this.picture.width);
      put('second-numbers', `Entropy ${entropy} bits, largest weight ${most}.`);
    }
  }
}
