/** The controls of what is drawn: seed, truncation, and how far a walk goes. */

import { MAX_SEED } from './address.js';
import { element, on } from './elements.js';

const input = (/** @type {string} */ id) => element(id, HTMLInputElement);
const number = (/** @type {string} */ id) => Number(input(id).value);
const seedIn = (/** @type {string} */ id) =>
  Math.min(MAX_SEED, Math.max(0, Math.round(number(id))));

/** Writes a number into its field, unless the field says so already: it may be half typed. */
function write(/** @type {string} */ id, /** @type {number} */ value) {
  if (number(id) !== value) input(id).value = String(value);
}

export class RecipeControls {
  /**
   * @param {Change} change draws at once
   * @param {Change} changeSoon draws when the reader has stopped, for what is typed or dragged
   * @param {Change} changeEnd of the walk
   */
  constructor(change, changeSoon, changeEnd) {
    this.seed = 0;
    on('seed', 'input', () => changeSoon({ seed: seedIn('seed') }));
    on('seed-next', 'click', () => change({ seed: Math.min(MAX_SEED, this.seed + 1) }));
    on('seed-before', 'click', () => change({ seed: Math.max(0, this.seed - 1) }));
    const random = () => Math.floor(Math.random() * (MAX_SEED + 1));
    on('seed-random', 'click', () => change({ seed: random() }));
    const truncation = () => (input('truncated').checked ? number('truncation') : null);
    on('truncated', 'input', () => change({ truncation: truncation() }));
    on('truncation', 'input', () => changeSoon({ truncation: truncation() }));
    on('to-seed', 'input', () => changeEnd({ toSeed: seedIn('to-seed') }));
    const moves = element('walk-moves', HTMLSelectElement);
    on('walk-moves', 'change', () => changeEnd({ moves: /** @type {Moves} */ (moves.value) }));
  }

  /** @param {State} state */
  show({ seed, truncation, moves }) {
    this.seed = seed;
    write('seed', seed);
    input('truncated').checked = truncation !== null;
    input('truncation').disabled = truncation === null;
    write('truncation', truncation ?? 1);
    element('truncation-value', HTMLOutputElement).value = String(truncation ?? 'none');
    element('walk-moves', HTMLSelectElement).value = moves;
  }

  /** @param {number} seed at which the walk ends */
  showEnd(seed) {
    write('to-seed', seed);
  }
}
