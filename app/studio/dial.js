/** A dial on γ: how much of its attention the network uses, and the difference that this makes. */

import { element } from './elements.js';

/** Fires `turn` whenever the dial turns, and `view` when the picture is to be shown otherwise. */
export class Dial extends EventTarget {
  constructor() {
    super();
    this.place = element('dial');
    this.range = element('scale', HTMLInputElement);
    this.output = element('scale-value', HTMLOutputElement);
    this.compare = element('difference', HTMLInputElement);
    this.gain = element('gain', HTMLInputElement);
    const tell = (/** @type {string} */ kind) => this.dispatchEvent(new Event(kind));
    this.range.addEventListener('input', () => {
      this.showScale();
      tell('turn');
    });
    for (const input of [this.compare, this.gain]) {
      input.addEventListener('input', () => tell('view'));
    }
  }

  get scale() {
    return Number(this.range.value);
  }

  /** @returns {{difference: boolean, gain: number}} */
  get view() {
    return { difference: this.compare.checked, gain: Number(this.gain.value) };
  }

  /** @param {{scale: number, difference: boolean, gain: number}} state */
  show({ scale, difference, gain }) {
    this.range.value = String(scale);
    this.compare.checked = difference;
    this.gain.value = String(gain);
    this.gain.disabled = !difference;
    element('gain-value', HTMLOutputElement).value = `× ${gain}`;
    this.showScale();
  }

  showScale() {
    this.output.value = `γ × ${this.scale.toFixed(2)}`;
  }
}
