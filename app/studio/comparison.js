/** A picture and the one with γ as it is: their difference, and the other one while it is held. */

import { difference, meanChange } from './difference.js';
import { element, put } from './elements.js';

export class Comparison {
  /**
   * @param {State} settings @param {Service} service
   * @param {(picture: ImageBitmap | OffscreenCanvas) => void} onShow
   */
  constructor(settings, service, onShow) {
    this.settings = settings;
    this.service = service;
    this.onShow = onShow;
    /** @type {ImageBitmap | null} the picture that the reader has asked for */
    this.picture = null;
    /** @type {ImageBitmap | null} the same with γ as it is */
    this.plain = null;
    this.plainOf = ''; // the recipe of `plain`
    this.held = false; // whether the reader holds the other picture
  }

  /** @param {ImageBitmap} picture shown from now on */
  setPicture(picture) {
    if (this.picture !== this.plain) this.picture?.close();
    this.picture = picture;
  }

  /**
   * Shows the picture, or how it differs from that with γ as it is.
   * @param {Recipe} recipe of the picture @param {AbortSignal} signal
   * @param {boolean} [load] the latter, even if it is not shown yet
   */
  async refresh(recipe, signal, load = false) {
    const { scale, difference: wanted } = this.settings;
    if (load || scale === 1 || wanted) await this.load(recipe, signal);
    this.show();
  }

  show() {
    const { scale, show } = this.settings;
    const shown = this.shown;
    if (shown !== null) this.onShow(shown);
    put('change', this.note);
    const other = scale !== 1 && this.plain !== null;
    element('hold', HTMLButtonElement).disabled = !other || show === 'heatmap';
  }

  /** @param {boolean} held */
  hold(held) {
    if (this.held === held) return;
    this.held = held;
    this.show();
  }

  /**
   * Draws the picture with γ as it is, if it is not there yet.
   * @param {Recipe} recipe of the picture @param {AbortSignal} signal
   */
  async load(recipe, signal) {
    const plain = { ...recipe, attentionScale: null };
    const wanted = JSON.stringify(plain);
    if (recipe.attentionScale === null && this.picture !== null) {
      this.keep(this.picture, wanted);
    } else if (this.plainOf !== wanted) {
      const { blob } = await this.service.generate(plain, { signal });
      const bitmap = await createImageBitmap(blob);
      if (signal.aborted) bitmap.close();
      else this.keep(bitmap, wanted);
    }
  }

  /** @param {ImageBitmap} bitmap @param {string} of */
  keep(bitmap, of) {
    if (this.plain !== bitmap && this.plain !== this.picture) this.plain?.close();
    this.plain = bitmap;
    this.plainOf = of;
  }

  /**
   */
  get shown() {
    const { picture, plain, held } = this;
    const { scale, difference: wanted, gain } = this.settings;
    if (picture === null || plain === null || plain === picture || scale === 1) return picture;
    if (held) return plain;
    return wanted ? difference(picture, plain, gain) : picture;
  }

  get note() {
    const { scale, difference: wanted } = this.settings;
    if (scale === 1) return wanted ? 'There is nothing to compare: turn Attention away from 1.' : '';
    if (this.picture === null || this.plain === null) return '';
    const levels = meanChange(this.picture, this.plain).toFixed(1);
    return `γ × ${scale.toFixed(2)} changes the picture by ${levels} of 255 levels on average.`;
  }
}
