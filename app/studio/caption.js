/** What is on the screen, in words. */

import { put } from './elements.js';

/** @type {Record<Exclude<Show, 'picture'>, string>} */
const SUBJECTS = {
  overlay: 'The light shows',
  heatmap: 'Bright spots show',
  pair: 'Beside the picture, bright spots show',
  contour: 'Lines at 25, 50 and 75 % of the scale show',
};

/** @param {Seen} shown */
export function showCaption(shown) {
  put('hint', [pictureIn(shown), attentionIn(shown)].filter(Boolean).join(' '));
}

/** @param {Seen} shown */
function pictureIn({ show, scale, difference, gain, held }) {
  if (scale !== 1 && show !== 'heatmap') {
    if (held) return 'This is the picture with γ × 1.';
    if (difference) {
      const than = `γ × ${scale.toFixed(2)} draws as γ × 1 does`;
      return `Grey is where ${than}; colours are what it changes, amplified × ${gain}.`;
    }
  }
  return show === 'picture' ? 'This is the picture without its attention.' : '';
}

/** @param {Seen} shown */
function attentionIn({ show, turned, scale, numPins }) {
  if (show === 'picture') return '';
  const subject = show === 'overlay' && numPins > 1 ? 'The light and each pin’s colour show'
    : SUBJECTS[show];
  const unused = scale === 0;
  const looked = unused ? 'would look' : 'looked';
  const drew = unused ? 'for' : 'when it drew';
  const points = { 0: ['this one', 'this pixel'], 1: ['the pin', 'the pin'] }[numPins]
    ?? [`any of the ${numPins} pins`, `any of the ${numPins} pins`];
  const map = turned
    ? `which pixels ${looked} at ${points[0]}`
    : `where the network ${looked} ${drew} ${points[1]}`;
  return `${subject} ${map}.${unused ? ' With γ × 0 it does not use its attention.' : ''}`;
}
