/** A walk from the picture that is shown to another: the frames between, and a slider. */

import { MAX_SEED } from './address.js';
import { element, inWords, settled } from './elements.js';
import { isAbort } from './service.js';

const FRAMES = 24;
const GUTTER_PX = 2; // between the frames of a strip
const FRAME_MS = 90;
const SETTLE_MS = 250;

/**
 * Where the walk of a state goes: to the next seed, unless the reader has chosen.
 * @param {State} state
 */
export function endOf({ toClass, toSeed, seed, moves }) {
  const next = toSeed ?? (seed === MAX_SEED ? 0 : seed + 1);
  return {
    classKey: moves === 'latent' ? null : toClass,
    seed: moves === 'class' && toClass !== null ? null : next,
  };
}

export class Walk {
  /** @param {Service} service @param {(text: string) => void} say tells of errors */
  constructor(service, say) {
    this.service = service;
    this.say = say;
    this.canvas = element('walk-canvas', HTMLCanvasElement);
    this.slider = element('walk-part', HTMLInputElement);
    this.player = element('walk-play', HTMLButtonElement);
    this.progress = element('walk-state');
    /** @type {ImageBitmap | null} */
    this.strip = null;
    this.smooth = true;
    this.wanted = false;
    this.controller = new AbortController();
    /** @type {Timer} */
    this.timer = undefined;
    this.slider.max = String(FRAMES - 1);
    this.slider.addEventListener('input', () => this.draw());
    this.player.addEventListener('click', () => this.play(this.timer === undefined));
    this.fetchSoon = settled(SETTLE_MS, (/** @type {Recipe} */ from, /** @type {End} */ to) =>
      this.wanted && void this.fetch(from, to),
    );
  }

  get frame() {
    return Number(this.slider.value);
  }

  set frame(frame) {
    this.slider.value = String(frame);
    this.draw();
  }

  /**
   * Fetches the frames, once the two ends have stayed the same for a moment.
   * @param {Recipe} from @param {End} to
   */
  show(from, to) {
    this.clear(`Drawing ${FRAMES} frames…`);
    this.wanted = true;
    this.fetchSoon(from, to);
  }

  /** @param {string} why there are no frames */
  clear(why) {
    this.progress.textContent = why;
    this.wanted = false;
    this.controller.abort();
    this.controller = new AbortController();
    this.play(false);
    this.strip?.close();
    this.strip = null;
    this.slider.disabled = this.player.disabled = true;
  }

  /** @param {Recipe} from @param {End} to */
  async fetch(from, to) {
    const { signal } = this.controller;
    try {
      const blob = await this.service.walk(from, to, FRAMES, { signal, bulk: true });
      const strip = await createImageBitmap(blob);
      if (signal.aborted) {
        strip.close();
        return;
      }
      this.strip = strip;
      this.slider.disabled = this.player.disabled = false;
      this.draw();
    } catch (error) {
      if (signal.aborted || isAbort(error)) return;
      this.progress.textContent = inWords(error);
      this.say(this.progress.textContent);
    }
  }

  draw() {
    if (this.strip === null) return;
    const frame = Number(this.slider.value);
    const side = this.strip.height;
    const context = this.canvas.getContext('2d');
    if (context === null) return;
    context.imageSmoothingEnabled = this.smooth;
    context.imageSmoothingQuality = 'high';
    const { width, height } = this.canvas;
    context.drawImage(this.strip, frame * (side + GUTTER_PX), 0, side, side, 0, 0, width, height);
    this.progress.textContent = `Frame ${frame + 1} of ${FRAMES}`;
    this.slider.ariaValueText = this.progress.textContent;
  }

  /** @param {boolean} playing */
  play(playing) {
    clearInterval(this.timer);
    this.timer = undefined;
    this.player.textContent = playing ? 'Stop' : 'Play';
    if (!playing) return;
    let step = 1;
    this.timer = setInterval(() => {
      const frame = Number(this.slider.value);
      if (frame + step < 0 || frame + step >= FRAMES) step = -step;
      this.slider.value = String(frame + step);
      this.draw();
    }, FRAME_MS);
  }
}
