/** Which maps and which markers are drawn for the points of a picture. */

import { COLOURS } from './pins.js';

/**
 * The spots of a point and of pins that are pixels of a picture.
 * @param {Stage} stage @returns {Spots}
 */
export function spotsOf(stage) {
  const spot = (/** @type {number} */ x, /** @type {number} */ y) =>
    ({ x: stage.part(x), y: stage.part(y), colour: null, label: '' });
  return {
    at: stage.at && spot(...stage.at),
    pins: stage.pins.all.map(({ x, y, slot }) =>
      ({ ...spot(x, y), colour: COLOURS[slot], label: `${slot + 1}` })),
  };
}

/**
 * What is drawn on one canvas: the map of the point, or else those of all pins. Without
 * maps there are the points alone.
 * @param {AttentionMaps | null} maps @param {Spots} spots
 * @param {Settings} settings
 */
export function viewOf(maps, { at, pins }, settings) {
  const { show, smooth } = settings;
  const mapped = at === null ? pins : [at];
  const marked = at === null ? pins : [...pins, at];
  return {
    mode: show === 'pair' ? 'overlay' : show,
    smooth,
    layers: maps === null ? [] : mapped.map((spot) => layerOf(maps, spot, settings)),
    markers: marked.map((spot) => markerOf(maps, spot, settings)),
  };
}

/**
 * The field of a spot.
 * @param {AttentionMaps} maps @param {Spot} spot @param {Settings} settings
 */
export function fieldOf(maps, { x, y }, { turned, shared }) {
  return turned ? maps.lookersAt(maps.keyAt(x, y), shared) : maps.mapOf(maps.queryAt(x, y), shared);
}

/** @param {AttentionMaps} maps @param {Spot} spot @param {Settings} settings */
function layerOf(maps, spot, settings) {
  return { field: fieldOf(maps, spot, settings), colour: spot.colour };
}

/**
 * With an arrow to where it looks most, unless it is shown who looks at it.
 * @param {AttentionMaps | null} maps @param {Spot} spot @param {Settings} settings
 */
function markerOf(maps, { x, y, colour, label }, { turned }) {
  const target = maps === null || turned ? null : maps.peakOf(maps.queryAt(x, y));
  return { x, y, colour: colour ?? '#ffffff', label, target };
}
