/** Asks for the picture of the state, then for its attention; says why they do not come. */

import { AttentionMaps } from './attention_maps.js';
import { settled } from './elements.js';
import { isAbort, Problem } from './service.js';

const DRAW_MS = 200; // after the last change of what is typed or dragged
const SLOW_MS = 3000; // after which a reader is told why the picture does not come

/** What determines the picture of a state. @param {State} state @returns {Recipe} */
export function recipeOf({ classKey, seed, truncation, scale, model }) {
  return { classKey, seed, truncation, attentionScale: scale === 1 ? null : scale, model };
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
    this.actSoon = settled(DRAW_MS, () => this.pending?.());
  }

  /** Aborted as soon as another picture is wanted. */
  get signal() {
    return this.controller.signal;
  }

  giveUp() {
    this.controller.abort();
    document.body.dataset.state = 'drawing';
  }

  /**
   * Gives up the picture that is under way, and acts when the reader has stopped.
   * @param {() => void} act
   */
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

  /** Says why the picture does not come. @param {AbortSignal} signal */
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
