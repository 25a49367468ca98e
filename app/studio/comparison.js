/** A picture and the one with γ as it is: their difference, and the other one while it is held. */

import { difference, meanChange } from './difference.js';

/**
 * @typedef {import('./service.js').Recipe} Recipe
 * @typedef {import('./service.js').Service} Service
 * @typedef {{scale: number, difference: boolean, gain: number}} Settings
 */

export class Comparison {
  /** @param {Service} service */
  constructor(service) {
    this.service = service;
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
   * What is to be shown: the picture, its difference, or the other picture.
   * @param {Settings} settings @returns {ImageBitmap | OffscreenCanvas | null}
   */
  shown({ scale, difference: wanted, gain }) {
    const { picture, plain, held } = this;
    if (picture === null || plain === null || plain === picture || scale === 1) return picture;
    if (held) return plain;
    return wanted ? difference(picture, plain, gain) : picture;
  }

  /** How much γ changes the picture, in words. @param {Settings} settings */
  note({ scale, difference: wanted }) {
    if (scale === 1) return wanted ? 'There is nothing to compare: turn Attention away from 1.' : '';
    if (this.picture === null || this.plain === null) return '';
    const levels = meanChange(this.picture, this.plain).toFixed(1);
    return `γ × ${scale.toFixed(2)} changes the picture by ${levels} of 255 levels on average.`;
  }
}
