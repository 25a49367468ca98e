/** The pins as a list beside the picture. */

import { button, element, make } from './elements.js';
import { COLOURS } from './pins.js';

/** @param {Stage} stage */
export function showPins(stage) {
  const pins = stage.pinNames.map(({ pin, name }) => ({
    name, colour: COLOURS[pin.slot], label: String(pin.slot + 1), selected: pin === stage.selected,
    select: () => stage.selectPin(pin), remove: () => stage.removePin(pin),
  }));
  listPins(element('pin-list'), pins);
  element('pins').hidden = pins.length === 0;
}

/**
 * Shows two buttons for each pin: one selects it, so that its map is seen alone, one removes it.
 * @param {HTMLElement} place @param {PinItem[]} pins
 */
function listPins(place, pins) {
  const focused = [...place.querySelectorAll('button')].findIndex(
    (one) => one === document.activeElement,
  );
  const items = pins.map(({ name, colour, label, selected, select, remove }) => {
    const swatch = make('b', { className: 'swatch' }, label);
    swatch.style.setProperty('--colour', colour); // through the CSSOM, which the policy allows
    const [chip, cross] = [button(select, swatch, name), button(remove, '×')];
    chip.ariaPressed = String(selected);
    cross.ariaLabel = `Remove pin ${name}`;
    return make('li', {}, chip, cross);
  });
  place.replaceChildren(...items);
  const buttons = place.querySelectorAll('button');
  if (focused >= 0) buttons[Math.min(focused, buttons.length - 1)]?.focus();
}
