/** The choice of a model, where several are served, and of one of its attention layers. */

import { element } from './elements.js';
import { readModel } from './readings.js';

/** @typedef {import('./service.js').Model} Model */

/**
 * @param {Model[]} all models that are served @param {Model | null} model of the picture
 * @param {string} name of the chosen model @param {number} chosen layer, -1 for the last
 */
export function showModels(all, model, name, chosen) {
  const layers = model?.attention_layers ?? [];
  const place = element('layer', HTMLSelectElement);
  if (place.options.length !== layers.length) {
    place.replaceChildren(
      ...layers.map(({ index, height, width }) =>
        new Option(`${index}: ${height}×${width}`, `${index}`),
      ),
    );
  }
  const layer = chosen < 0 ? layers.length - 1 : chosen;
  place.value = String(layer);
  element('layer-row', HTMLElement).hidden = layers.length < 2;
  readModel(model, layer);
  const models = element('model', HTMLSelectElement);
  if (models.options.length !== all.length) {
    models.replaceChildren(...all.map((one) => new Option(one.name, one.name)));
  }
  models.value = name;
  element('model-row', HTMLElement).hidden = all.length < 2;
}
