/** Tells readers what has happened: screen readers always, everybody where it is worth a moment. */

import { element } from './elements.js';

/**
 * Tells screen readers and, if `seen`, everybody for a moment.
 * @param {string} text @param {boolean} [seen]
 */
export function say(text, seen = false) {
  element('live', HTMLElement).textContent = text;
  if (!seen) return;
  const toast = element('toast', HTMLElement);
  toast.textContent = text;
  toast.classList.remove('shown');
  requestAnimationFrame(() => toast.classList.add('shown'));
}

/** Tells everybody, for a moment. @param {string} text */
export function show(text) {
  say(text, true);
}
