/** Asks for the picture of the state, then for its attention; says why they do not come. */

import { AttentionMaps } from './attention_maps.js';
import { settled } from './elements.js';
import { isAbort, Problem } from './service.js';

const DRAW_MS = 200; // after the last change of what is typed or dragged
const SLOW_MS = 3000; // after which a reader is told why the picture does not come

/** What determines the picture of a state. @param {State} state @returns {Recipe} */
export function recipeOf({ classKey, mix, seed, truncation, scale, model }) {
  return { classKey, mix, seed, truncation, attentionScale: scale === 1 ? null : scale, model };
}

export class Drawing {
  /**
   * @param {State} state @param {Service} service @param {Notices} notices
   * @param {Receiver} receiver
   */
  constructor(state, service, notices, receiver) {
    this.state = state;
    this.service = service;
    this.notices = notices;
    this.receiver = receiver;
    /** @type {Picture | null} the last one that arrived */
    this.picture = null;
    this.controller = new AbortController();
    /** @type {(() => void) | null} what waits for the reader to stop */
    this.pending = null;
    /** @type {Recipe | null} the newest picture on the way to another one */
    this.passing = null;
    this.isPassing = false;
    this.actSoon = settled(DRAW_MS, () => this.pending?.());
  }

  get signal() {
    return this.controller.signal;
  }

  giveUp() {
    this.controller.abort();
    document.body.dataset.state = 'drawing';
  }

  /** @param {() => void} act */
  later(act) {
    this.giveUp();
    this.pending = act;
    this.actSoon();
  }

  async draw() {
    this.giveUp();
    this.pending = null;
    const { signal } = (this.controller = new AbortController());
    const slow = setTimeout(() => void this.explain(signal), SLOW_MS);
    try {
      await this.drawPicture(signal);
      await this.drawMaps(signal);
      document.body.dataset.state = 'drawn';
      this.receiver.drawn(signal);
    } catch (error) {
      if (signal.aborted || isAbort(error)) return;
      document.body.dataset.state = 'failed';
      this.receiver.failed(error);
    } finally {
      clearTimeout(slow);
    }
  }

  /**
   * Shows pictures while the reader goes on changing them: one at a time, and then the newest.
   * @param {Recipe} recipe
   */
  async pass(recipe) {
    this.passing = recipe;
    if (this.isPassing) return;
    this.isPassing = true;
    while (this.passing !== null) {
      const next = this.passing;
      this.passing = null;
      const bitmap = await this.service.generate(next, { quiet: true })
        .then(({ blob }) => createImageBitmap(blob)).catch(() => null);
      if (bitmap !== null && this.pending !== null) this.receiver.passing(bitmap);
      else bitmap?.close(); // the picture that it led to is wanted by now
    }
    this.isPassing = false;
  }

  /** @param {AbortSignal} signal */
  async drawPicture(signal) {
    const { image } = this.state;
    const picture = image === null
      ? await this.service.generate(recipeOf(this.state), { signal })
      : await this.service.image(image, { signal });
    const bitmap = await createImageBitmap(picture.blob);
    if (signal.aborted) {
      bitmap.close();
      throw signal.reason;
    }
    this.picture = picture;
    this.notices.clear();
    await this.receiver.picture(picture, bitmap, signal);
  }

  /** @param {AbortSignal} signal */
  async drawMaps(signal) {
    const { picture, state, service, receiver } = this;
    if (picture === null) return;
    try {
      const { shape, body } = await service.attention(picture.id, state.layer, { signal });
      receiver.maps(new AttentionMaps(body, shape));
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 422) throw error;
      receiver.maps(null);
      this.notices.tell(`The picture has no attention to show: ${error.message}.`);
    }
  }

  /** @param {AbortSignal} signal */
  async explain(signal) {
    const ready = await this.service.isReady();
    const { state } = document.body.dataset;
    if (signal.aborted || this.service.troubled || state !== 'drawing') return;
    this.notices.tell(
      ready
        ? 'The service is busy, and the picture waits in the queue. It comes when it is its turn.'
        : 'No worker is ready at the moment. The picture comes as soon as there is one.',
    );
  }
}
