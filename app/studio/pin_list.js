/** The pins as a list beside the picture. */

import { make } from './elements.js';

/**
 * @typedef {{name: string, colour: string, label: string, selected: boolean,
 *   select: () => void, remove: () => void}} Item
 */

/**
 * Shows two buttons for each pin: one selects it, so that its map is seen alone, one removes it.
 * @param {HTMLElement} place @param {Item[]} pins
 */
export function listPins(place, pins) {
  const focused = [...place.querySelectorAll('button')].findIndex(
    (button) => button === document.activeElement,
  );
  const items = pins.map(({ name, colour, label, selected, select, remove }) => {
    const swatch = make('b', { className: 'swatch' }, label);
    swatch.style.setProperty('--colour', colour); // through the CSSOM, which the policy allows
    const chip = make('button', { type: 'button', ariaPressed: String(selected) }, swatch, name);
    const cross = make('button', { type: 'button', ariaLabel: `Remove pin ${name}` }, '×');
    chip.addEventListener('click', select);
    cross.addEventListener('click', remove);
    return make('li', {}, chip, cross);
  });
  place.replaceChildren(...items);
  const buttons = place.querySelectorAll('button');
  if (focused >= 0) buttons[Math.min(focused, buttons.length - 1)]?.focus();
}
