/** The controls of how the picture and its attention are shown; they do not change the picture. */

import { element } from './elements.js';

/**
 * @import { Show, State } from './address.js'
 */

const SWITCHES = /** @type {const} */ (['turned', 'shared', 'smooth']);
const checkbox = (/** @type {string} */ id) => element(id, HTMLInputElement);

export class ViewControls {
  /** @param {(changes: Partial<State>) => void} change shows the same picture in another way */
  constructor(change) {
    element('show', HTMLElement).addEventListener('input', () => {
      const chosen = document.querySelector('input[name=show]:checked');
      if (!(chosen instanceof HTMLInputElement)) return;
      change({ show: /** @type {Show} */ (chosen.value) });
    });
    for (const name of SWITCHES) {
      checkbox(name).addEventListener('input', () => change({ [name]: checkbox(name).checked }));
    }
    const layer = element('layer', HTMLSelectElement);
    layer.addEventListener('change', () => change({ layer: Number(layer.value) }));
    const second = element('second-model', HTMLSelectElement);
    second.addEventListener('change', () => change({ second: second.value || null }));
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
