/** A dial on γ: how much of its attention the network uses, and the difference that this makes. */

import { difference } from './difference.js';
import { element, settled } from './elements.js';

const SETTLE_MS = 120;

/** Fires `turn` when the dial comes to rest, and `view` when the picture is to be drawn anew. */
export class Dial extends EventTarget {
  constructor() {
    super();
    this.place = element('dial', HTMLElement);
    this.range = element('scale', HTMLInputElement);
    this.output = element('scale-value', HTMLOutputElement);
    this.compare = element('difference', HTMLInputElement);
    this.gain = element('gain', HTMLInputElement);
    /** @type {ImageBitmap | null} the picture with γ as it is */
    this.plain = null;
    const tell = (/** @type {string} */ kind) => this.dispatchEvent(new Event(kind));
    const rest = settled(SETTLE_MS, () => tell('turn'));
    this.range.addEventListener('input', () => {
      this.showScale();
      rest();
    });
    for (const input of [this.compare, this.gain]) {
      input.addEventListener('input', () => {
        this.gain.disabled = !this.compare.checked;
        tell('view');
      });
    }
    this.gain.disabled = true;
  }

  get scale() {
    return Number(this.range.value);
  }

  set scale(scale) {
    this.range.value = String(scale);
    this.showScale();
  }

  /** Whether the difference needs the picture with γ as it is. */
  get comparing() {
    return this.compare.checked && this.scale !== 1;
  }

  /**
   * What is to be shown of a picture: itself, or its difference.
   * @param {ImageBitmap} picture @returns {ImageBitmap | OffscreenCanvas}
   */
  of(picture) {
    if (!this.comparing || this.plain === null) return picture;
    return difference(picture, this.plain, Number(this.gain.value));
  }

  showScale() {
    this.output.value = `γ × ${this.scale.toFixed(2)}`;
  }
}
