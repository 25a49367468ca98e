/** The controls of how the picture and its attention are shown; they do not change the picture. */

import { element, on } from './elements.js';

const SWITCHES = /** @type {const} */ (['turned', 'shared', 'smooth']);
const checkbox = (/** @type {string} */ id) => element(id, HTMLInputElement);

export class ViewControls {
  /** @param {(changes: Partial<State>) => void} change shows the same picture in another way */
  constructor(change) {
    on('show', 'input', () => {
      const chosen = document.querySelector('input[name=show]:checked');
      if (!(chosen instanceof HTMLInputElement)) return;
      change({ show: /** @type {Show} */ (chosen.value) });
    });
    for (const name of SWITCHES) {
      on(name, 'input', () => change({ [name]: checkbox(name).checked }));
    }
    const chosen = (/** @type {string} */ id) => element(id, HTMLSelectElement).value;
    on('layer', 'change', () => change({ layer: Number(chosen('layer')) }));
    on('second-model', 'change', () => change({ second: chosen('second-model') || null }));
  }

  /** @param {State} state */
  show(state) {
    for (const radio of document.querySelectorAll('input[name=show]')) {
      if (radio instanceof HTMLInputElement) radio.checked = radio.value === state.show;
    }
    for (const name of SWITCHES) checkbox(name).checked = state[name];
    document.body.dataset.pixels = state.smooth ? 'smooth' : 'crisp';
  }
}
