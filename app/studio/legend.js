/** The scale of the maps that are shown, and what it hides. */

import { element, put } from './elements.js';

const EVEN_BITS = 1; // an entropy this near to the most is that of a map over half of all cells
const LINES = [0.25, 0.5, 0.75]; // of `attention_canvas.js`

/** @param {Stage} stage */
export function showScale(stage) {
  const maps = stage.shown.flatMap((point) => stage.numbers(point) ?? []);
  showLegend(stage.settings, maps, stage.maps?.largest ?? 0);
}

/**
 * @param {Settings} settings @param {Numbers[]} maps the numbers of each map that is shown
 * @param {number} largest weight of the layer
 */
function showLegend(settings, maps, largest) {
  const legend = element('legend');
  legend.hidden = settings.show === 'picture' || maps.length === 0;
  legend.dataset.show = settings.show;
  const top = settings.shared ? largest : maps.length === 1 ? maps[0].largest : null;
  put('legend-low', settings.show === 'contour' ? linesOf(top) : '0 %');
  put('legend-high', top === null ? 'largest weight of each pin' : percent(top));
  put('map-note', legend.hidden ? '' : noteOn(settings, maps, largest));
}

/** @param {number | null} top */
function linesOf(top) {
  if (top === null) return 'Lines at 25, 50 and 75 % of the largest weight of each pin';
  const [thin, middle, thick] = LINES.map((part) => percent(part * top));
  return `Lines at ${thin}, ${middle} and ${thick}`;
}

/** @param {Settings} settings @param {Numbers[]} maps @param {number} largest */
function noteOn({ shared, turned }, maps, largest) {
  const most = percent(Math.max(...maps.map((one) => one.largest)));
  const even = maps.filter((one) => one.entropyBits > one.mostBits - EVEN_BITS).length;
  const scale = `Full brightness is ${percent(largest)}, the largest weight of all points; here`;
  const notes = shared ? [`${scale} the largest is ${most}.`] : [];
  if (even > 0 && maps.length === 1) {
    notes.push(`${turned ? 'Looked at from' : 'Looks'} almost everywhere: brightest spot ${most}.`);
  } else if (even > 0) {
    const map = turned ? 'are looked at from' : 'look';
    notes.push(`${even} of ${maps.length} pins ${map} almost everywhere.`);
  }
  return notes.join(' ');
}

/** @param {number} part */
function percent(part) {
  return `${(100 * part).toFixed(part < 0.01 ? 2 : 1)} %`;
}
