/** Records what the pointer shows on its way over the picture, as an animated WebP file. */

import { animatedWebp } from './animated_webp.js';
import { show } from './announcer.js';
import { fileOf } from './attention_canvas.js';
import { element, inWords } from './elements.js';
import { download } from './taking.js';

const FRAME_MS = 80;
const LONGEST_MS = 10_000;
const STILL_MS = 700; // for longer the recording shows no sight that does not change
const SIDE_PX = 400;
const STILL = { type: 'image/webp', quality: 0.75 };

export class Recording {
  /**
   * @param {Stage} stage @param {() => Drawn | null} drawing what is on the screen
   * @param {() => string} name of the picture
   */
  constructor(stage, drawing, name) {
    this.stage = stage;
    this.drawing = drawing;
    this.name = name;
    this.button = element('record', HTMLButtonElement);
    /** @type {Sight[]} */
    this.sights = [];
    /** @type {Timer} */
    this.timer = undefined;
    this.moved = false; // since the last look
    this.button.addEventListener('click', () => {
      if (this.timer === undefined) this.start();
      else this.stop();
    });
    stage.addEventListener('point', () => (this.moved = true));
    for (const canvas of [stage.main, stage.beside]) {
      canvas.addEventListener('pointerleave', ({ pointerType }) => {
        if (pointerType === 'mouse' && this.sights.length > 1) this.stop();
      });
    }
  }

  start() {
    this.sights = [];
    this.moved = false;
    this.timer = setInterval(() => this.look(), FRAME_MS);
    this.button.textContent = 'Stop';
    show('Move over the picture. The path is recorded until you leave it, or for 10 seconds.');
  }

  /** Keeps what is seen, if the point has moved since the last look. */
  look() {
    const now = performance.now();
    if (this.sights.length && now - this.sights[0].ms > LONGEST_MS) {
      this.stop();
    } else if (this.moved) {
      this.moved = false;
      const drawn = this.drawing();
      if (drawn !== null) this.sights.push({ file: fileOf(drawn, SIDE_PX, STILL), ms: now });
    }
  }

  stop() {
    clearInterval(this.timer);
    this.timer = undefined;
    this.button.textContent = 'Record the pointer';
    const sights = this.sights;
    this.sights = [];
    if (!sights.length) show('Nothing was recorded: the point did not move.');
    else void this.save(sights);
  }

  /** @param {Sight[]} sights */
  async save(sights) {
    this.button.disabled = true;
    try {
      download(await animationOf(sights), `${this.name()}-path.webp`);
      show('Recording saved.');
    } catch (error) {
      show(inWords(error));
    } finally {
      this.button.disabled = false;
    }
  }
}

/** An animated WebP file. @param {Sight[]} sights */
async function animationOf(sights) {
  const frames = [];
  for (const [i, { file, ms }] of sights.entries()) {
    const still = await file;
    if (still.type !== STILL.type) throw new Error('This browser cannot write WebP files.');
    const until = sights[i + 1]?.ms ?? ms + STILL_MS;
    const bytes = new Uint8Array(await still.arrayBuffer());
    frames.push({ bytes, ms: Math.min(STILL_MS, until - ms) });
  }
  return new Blob([animatedWebp(frames, SIDE_PX, SIDE_PX)], { type: STILL.type });
}
