/** Says what is wrong, and what happens next. */

import { button, make } from './elements.js';

/** What a problem that passes means to a reader, by its slug. @type {Record<string, string>} */
const MEANINGS = {
  unreachable: 'The server does not answer. It may be restarting.',
  'not-ready': 'No worker is ready yet: the service is starting, or its workers have stopped.',
  'queue-full': 'Many pictures are waiting: the queue is full.',
  'rate-limited': 'You have reached the limit of pictures for now.',
  'queue-unavailable': 'The service has lost its queue and is looking for it.',
  'deadline-exceeded': 'The picture took too long.',
  overloaded: 'The server has too many readers at the moment.',
};
const TICK_MS = 250;

export class Notices {
  /** @param {HTMLElement} place a live region @param {Service} service whose waits are told */
  constructor(place, service) {
    this.place = place;
    this.retryNow = () => service.retryNow();
    this.until = 0;
    /** @type {Timer} */
    this.timer = undefined;
    service.addEventListener('waiting', (event) => {
      const { problem, seconds } = /** @type {CustomEvent} */ (event).detail;
      this.waiting(problem, seconds);
    });
    service.addEventListener('recovered', () => this.clear());
  }

  /**
   * Says that a request is sent again after some seconds, and counts down.
   * @param {Problem} problem @param {number} seconds
   */
  waiting(problem, seconds) {
    const count = make('span', { className: 'count' });
    count.setAttribute('aria-hidden', 'true'); // a screen reader hears the first number only
    const heard = make('span', { className: 'unseen' }, `Trying again in ${seconds} seconds.`);
    const text = MEANINGS[problem.slug] ?? problem.message;
    this.show('wait', [`${text} `, count, heard], [{ label: 'Try now', act: this.retryNow }]);
    this.until = performance.now() + 1000 * seconds;
    const tick = () => {
      const left = Math.ceil((this.until - performance.now()) / 1000);
      count.textContent = left > 0 ? `Trying again in ${left} s.` : 'Trying again…';
    };
    tick();
    this.timer = setInterval(tick, TICK_MS);
  }

  /** Says what no wait mends. @param {string} text @param {Remedy[]} remedies */
  error(text, remedies) {
    this.show('error', [text], remedies);
  }

  /** @param {string} text @param {Remedy[]} [remedies] */
  tell(text, remedies = []) {
    this.show('tell', [text], remedies);
  }

  clear() {
    clearInterval(this.timer);
    this.place.hidden = true;
    this.place.replaceChildren();
  }

  /** @param {string} kind @param {(Node | string)[]} text @param {Remedy[]} remedies */
  show(kind, text, remedies) {
    clearInterval(this.timer);
    const buttons = remedies.map(({ label, act }) => button(act, label));
    this.place.dataset.kind = kind;
    this.place.hidden = false;
    this.place.replaceChildren(make('p', {}, ...text), ...buttons);
  }
}
