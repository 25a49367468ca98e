/** Numbers for the curious: where the picture comes from, and how its attention is spread. */

import { element, make, put } from './elements.js';

const STAGES = /([a-z]+);dur=([\d.]+)/g;
/** @param {string} name of a reading @param {string} text */
const read = (name, text) => put(`reading-${name}`, text || '–');

/** @param {{id: string, timing: string}} picture */
export function readPicture({ id, timing }) {
  read('id', id);
  const stages = Array.from(timing.matchAll(STAGES), ([, name, ms]) => `${name} ${Number(ms)} ms`);
  const cached = timing.includes('cache;desc=hit');
  read('timing', cached ? "from the server's cache" : stages.join(', '));
}

/** @param {Model | null} model @param {number} layer counted from 0 */
export function readModel(model, layer) {
  read('fingerprint', model?.fingerprint.slice(0, 12) ?? '');
  read('renderer', model?.renderer ?? '');
  const gamma = model?.attention_layers[layer]?.gamma ?? null; // a worker may not tell it
  read('gamma', gamma === null ? '' : gamma.toPrecision(3));
  element('reading-gamma-row').hidden = gamma === null;
}

/** The numbers of the map of the point, in the direction that is shown. @param {Stage} stage */
export function readPoint(stage) {
  const { at, resolution } = stage;
  const { turned } = stage.settings;
  const numbers = at && stage.numbers(at);
  read('reach-name', turned ? 'Looked at from' : 'How far it looks');
  read('most-name', turned ? 'Largest weight it gets' : 'Largest weight');
  const [reach, entropy, most] = numbers === null ? ['', '', ''] : numbersInWords(numbers, resolution);
  read('point', at === null ? '' : at.join(', '));
  read('reach', reach && `${reach} on average`);
  read('entropy', entropy && `${entropy} bits`);
  read('most', most);
}

/** @param {Stage} stage */
export function readPins(stage) {
  const { pins, resolution } = stage;
  const { turned } = stage.settings;
  const titles = ['Pin', turned ? 'Looked at from' : 'Looks', 'Entropy, bits', 'Largest weight'];
  const head = make('tr', {}, ...titles.map((title) => make('th', { scope: 'col' }, title)));
  const rows = pins.all.map(({ x, y, slot }) => {
    const numbers = stage.numbers([x, y]);
    const texts = numbers === null ? [] : numbersInWords(numbers, resolution);
    const cells = texts.map((text) => make('td', {}, text));
    return make('tr', {}, make('th', { scope: 'row' }, `${slot + 1}`), ...cells);
  });
  const table = element('reading-pins', HTMLTableElement);
  table.replaceChildren(make('thead', {}, head), make('tbody', {}, ...rows));
  table.hidden = pins.all.length === 0 || stage.maps === null;
}

/** Distance, entropy and largest weight. @param {Numbers} numbers @param {number} resolution */
export function numbersInWords({ distance, entropyBits, mostBits, largest }, resolution) {
  return [
    `${(distance * resolution).toFixed(1)} px`,
    `${entropyBits.toFixed(2)} of ${mostBits.toFixed(0)}`,
    `${(100 * largest).toFixed(1)} %`,
  ];
}
