/** The pins as a list beside the picture. */

import { make } from './elements.js';

/**
 * Shows a button for each pin, which takes the pin away.
 * @param {HTMLElement} place
 * @param {{name: string, colour: string, label: string, remove: () => void}[]} pins
 */
export function listPins(place, pins) {
  const items = pins.map(({ name, colour, label, remove }) => {
    const swatch = make('b', { className: 'swatch' }, label);
    swatch.style.setProperty('--colour', colour); // through the CSSOM, which the policy allows
    const hint = make('span', { className: 'unseen' }, ': remove this pin');
    const button = make('button', { type: 'button' }, swatch, name, hint);
    button.addEventListener('click', remove);
    return make('li', {}, button);
  });
  place.replaceChildren(...items);
}
