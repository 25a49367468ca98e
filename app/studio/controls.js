/** All controls of the page, and what each change of one does. */

import { show } from './announcer.js';
import { ClassPicker } from './class_picker.js';
import { Dial } from './dial.js';
import { element, on, put, spoken } from './elements.js';
import { listenToHolding } from './holding.js';
import { Mix } from './mix.js';
import { RecipeControls } from './recipe_controls.js';
import { ViewControls } from './view_controls.js';

export class Controls {
  /** @param {Service} service @param {Changes} changes */
  constructor(service, { now, soon, mix, model, view, difference, end, hold }) {
    this.recipe = new RecipeControls(now, soon, end);
    this.view = new ViewControls(view);
    const models = element('model', HTMLSelectElement);
    models.addEventListener('change', () => model(models.value));
    this.dial = new Dial();
    this.dial.addEventListener('turn', () => soon({ scale: this.dial.scale }));
    this.dial.addEventListener('view', () => difference(this.dial.view));
    const picture = element('picture');
    listenToHolding(element('hold', HTMLButtonElement), picture, hold);
    on('skip', 'click', () => picture.focus());
    const picker = (/** @type {string} */ id, /** @type {(classKey: string) => void} */ choose) =>
      new ClassPicker(
        element(id, HTMLInputElement), element(`${id}-list`), service,
        ({ index }) => choose(String(index)), show,
      );
    this.picker = picker('class', (classKey) => now({ classKey, mix: null }));
    this.mix = new Mix(service, mix, show);
    this.endPicker = picker('to-class', (toClass) => end({ toClass }));
  }

  /** @param {State} state */
  show(state) {
    this.recipe.show(state);
    this.dial.show(state);
    this.view.show(state);
  }

  /** @param {Picture} picture @param {string} className */
  showNames(picture, className) {
    if (!className) return;
    const [name, seed] = [spoken(className), `seed ${picture.seed}`];
    this.picker.model = this.endPicker.model = picture.model;
    this.picker.setName(className);
    document.title = `${name} · ${seed} — SAGAN studio`;
    put('caption-class', name);
    put('caption-seed', seed);
  }

  /** Where the walk goes. @param {number} seed @param {string} className */
  showEnd(seed, className) {
    this.recipe.showEnd(seed);
    if (className) this.endPicker.setName(className);
  }
}
