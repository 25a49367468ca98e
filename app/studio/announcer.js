/** Tells readers what has happened: screen readers always, everybody where it is worth a moment. */

import { element } from './elements.js';

/**
 * Tells screen readers and, if `seen`, everybody for a moment.
 * @param {string} text @param {boolean} [seen]
 */
export function say(text, seen = false) {
  element('live').textContent = text;
  if (!seen) return;
  const toast = element('toast');
  toast.textContent = text;
  toast.classList.remove('shown');
  requestAnimationFrame(() => toast.classList.add('shown'));
}

/** @param {string} text */
export function show(text) {
  say(text, true);
}
