/** Says in words and numbers what the large picture shows, whenever that changes. */

import { say } from './announcer.js';
import { showCaption } from './caption.js';
import { settled, throttled } from './elements.js';
import { showScale } from './legend.js';
import { showPins } from './pin_list.js';
import { readPins, readPoint } from './readings.js';

const SPEAK_MS = 500;
const READ_MS = 120; // faster than anybody reads, text would only delay the picture

export class Narration {
  /** @param {State} state @param {Stage} stage @param {Comparison} comparison */
  constructor(state, stage, comparison) {
    this.state = state;
    this.stage = stage;
    this.comparison = comparison;
    const read = throttled(READ_MS, () => this.read());
    const speakSoon = settled(SPEAK_MS, () => say(stage.describe()));
    stage.addEventListener('point', () => {
      read();
      if (stage.byKeyboard) speakSoon();
    });
    stage.addEventListener('pins', () => {
      showPins(stage);
      readPins(stage);
      read();
    });
  }

  read() {
    const { stage, state, comparison } = this;
    readPoint(stage);
    showScale(stage);
    const numPins = stage.at === null ? stage.pins.all.length : 0;
    if (stage.hasPicture) showCaption({ ...state, numPins, held: comparison.held });
  }
}
