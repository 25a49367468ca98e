/** The choice of a model and of one to compare with, where several are served, and of a layer. */

import { element } from './elements.js';
import { readModel } from './readings.js';

/**
 * @param {Model[]} all models that are served @param {Model | null} model of the picture
 * @param {string} name of the chosen model @param {string | null} second that it is compared with
 * @param {number} chosen layer, -1 for the last
 */
export function showModels(all, model, name, second, chosen) {
  const layers = model?.attention_layers ?? [];
  const layer = chosen < 0 ? layers.length - 1 : chosen;
  offer('layer', layers.map(({ index, height, width }) =>
    [`${index}`, `${index}: ${height}×${width}`]), String(layer));
  element('layer-row').hidden = layers.length < 2;
  element('dial').hidden = layers.length === 0;
  readModel(model, layer);
  offer('model', all.map((one) => [one.name, one.name]), name);
  element('model-row').hidden = all.length < 2;
  const others = all.filter((one) => one.name !== name).map((one) => [one.name, one.name]);
  offer('second-model', [['', 'No other model'], ...others], second ?? '');
  element('second-row').hidden = all.length < 2 && second === null;
}

/**
 * @param {string} id of a choice @param {string[][]} options value and text of each
 * @param {string} value that is chosen
 */
function offer(id, options, value) {
  const place = element(id, HTMLSelectElement);
  const before = [...place.options].map((one) => [one.value, one.text]);
  if (JSON.stringify(before) !== JSON.stringify(options)) {
    place.replaceChildren(...options.map(([key, text]) => new Option(text, key)));
  }
  place.value = value;
}
