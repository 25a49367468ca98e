/** Numbers for the curious: where the picture comes from, and how its attention is spread. */

import { element } from './elements.js';

/**
 * @typedef {import('./attention_maps.js').AttentionMaps} AttentionMaps
 * @typedef {import('./service.js').Model} Model
 */

const STAGES = /([a-z]+);dur=([\d.]+)/g;
const ids = /** @type {const} */ ([
  'id', 'fingerprint', 'renderer', 'gamma', 'timing', 'point', 'entropy', 'reach', 'most',
]);

/** @typedef {(typeof ids)[number]} Reading */

/** @param {Reading} name @param {string} text */
function put(name, text) {
  const place = element(`reading-${name}`, HTMLElement);
  if (place.textContent !== text) place.textContent = text || '–';
}

/** @param {{id: string, timing: string}} picture */
export function readPicture({ id, timing }) {
  put('id', id);
  const stages = Array.from(timing.matchAll(STAGES), ([, name, ms]) => `${name} ${Number(ms)} ms`);
  const cached = timing.includes('cache;desc=hit');
  put('timing', cached ? "from the server's cache" : stages.join(', '));
}

/** @param {Model | null} model @param {number} layer counted from 0 */
export function readModel(model, layer) {
  put('fingerprint', model?.fingerprint.slice(0, 12) ?? '');
  put('renderer', model?.renderer ?? '');
  const gamma = model?.attention_layers[layer]?.gamma;
  put('gamma', gamma === undefined ? '' : gamma.toPrecision(3));
  element('reading-gamma-row', HTMLElement).hidden = gamma === undefined;
}

/**
 * The numbers of one query's map.
 * @param {AttentionMaps | null} maps @param {[number, number] | null} at a pixel
 * @param {number} resolution pixels of the picture's side
 */
export function readPoint(maps, at, resolution) {
  if (maps === null || at === null) {
    for (const name of /** @type {const} */ (['point', 'entropy', 'reach', 'most'])) put(name, '');
    return;
  }
  const [x, y] = at;
  const query = maps.queryAt((x + 0.5) / resolution, (y + 0.5) / resolution);
  const most = Math.log2(maps.numKeys);
  put('point', `${x}, ${y}`);
  put('entropy', `${maps.entropyBits(query).toFixed(2)} of ${most.toFixed(0)} bits`);
  put('reach', `${(maps.meanDistance(query) * resolution).toFixed(1)} px on average`);
  put('most', `${(100 * maps.maxima[query]).toFixed(1)} %`);
}
