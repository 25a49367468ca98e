/** Keeps the address of the page that of the view, and leads back through the views before. */

import { fragmentOf, readState } from './address.js';
import { on, settled } from './elements.js';

const ADDRESS_MS = 300; // browsers allow few changes of the address in a second

export class AddressBar {
  /**
   * @param {State} state
   * @param {Stage} stage @param {Tray} tray these two keep a part of the state
   * @param {(state: State) => void} goTo shows the view of an address that the reader goes to
   */
  constructor(state, stage, tray, goTo) {
    this.state = state;
    this.stage = stage;
    this.tray = tray;
    this.saveSoon = settled(ADDRESS_MS, () => this.save(false));
    for (const kind of ['point', 'pins']) stage.addEventListener(kind, this.saveSoon);
    on('walk-part', 'input', this.saveSoon);
    addEventListener('popstate', () => goTo(readState(location.hash)));
  }

  /** @param {boolean} step whether "back" leads here again */
  save(step) {
    const { state, stage, tray } = this;
    state.at = stage.at;
    state.pins = stage.pins.points;
    state.frame = tray.walk.frame;
    state.seeds = tray.wall;
    const fragment = fragmentOf(state);
    if (step) history.pushState(null, '', fragment);
    else history.replaceState(null, '', fragment);
  }

  /** Gives the points, the wall and the walk of the state to those that keep them. */
  place() {
    const { state, stage, tray } = this;
    tray.setWall(state.seeds);
    tray.walk.frame = state.frame;
    stage.at = state.at;
    stage.setPins(state.pins);
  }
}
