/** Below the picture: a wall of seeds, one seed at several truncations, a walk to another. */

import { element, on, spoken } from './elements.js';
import { PictureList } from './picture_list.js';
import { Walk } from './walk.js';

const TRUNCATIONS = [0.3, 0.5, 0.7, 1, 1.3, 1.6, 2, null];
const NAMES = /** @type {const} */ (['seeds', 'truncation', 'walk', 'mix']);

export class Tray {
  /**
   * @param {Service} service @param {(recipe: Recipe) => void} onChoose
   * @param {(name: TrayName) => void} onOpen @param {() => void} onWall the wall has another size
   * @param {(text: string) => void} say
   */
  constructor(service, onChoose, onOpen, onWall, say) {
    this.onOpen = onOpen;
    this.onWall = onWall;
    this.seeds = new PictureList(element('seed-list'), service, onChoose);
    this.truncations = new PictureList(element('truncation-list'), service, onChoose);
    this.walk = new Walk(service, say);
    this.count = element('seed-count', HTMLSelectElement);
    /** @type {TrayName} */
    this.open = 'seeds';
    /** @type {Recipe | null} */
    this.recipe = null;
    this.className = '';
    /** @type {End} */
    this.end = { classKey: null, seed: null };
    this.wall = Number(this.count.value); // how many seeds it has
    /** @type {Partial<Record<TrayName, string>>} what each tab has been filled for */
    this.filled = {};
    for (const name of NAMES) on(`tab-${name}`, 'click', () => this.choose(name));
    on('tabs', 'keydown', (event) => this.onKey(/** @type {KeyboardEvent} */ (event)));
    this.count.addEventListener('change', () => this.enlarge(Number(this.count.value)));
    on('seed-more', 'click', () => this.enlarge(this.wall + Number(this.count.value)));
  }

  /** @param {Recipe} recipe @param {string} className @param {End} end of the walk */
  fill(recipe, className, end) {
    this.recipe = recipe;
    this.className = spoken(className);
    this.end = end;
    this.refresh();
  }

  /** @param {TrayName} name */
  choose(name) {
    this.open = name;
    for (const one of NAMES) {
      this.tab(one).ariaSelected = String(one === name);
      this.tab(one).tabIndex = one === name ? 0 : -1;
      element(`panel-${one}`).hidden = one !== name;
    }
    if (name !== 'walk') this.walk.play(false);
    this.refresh();
    this.onOpen(name);
  }

  refresh() {
    const { recipe } = this;
    if (recipe === null) return;
    const { classKey, mix, seed, truncation, model } = recipe;
    if (this.open === 'seeds') {
      if (this.isNew('seeds', [classKey, mix, truncation, model])) this.refill();
      this.seeds.mark(recipe);
    } else if (this.open === 'truncation') {
      if (this.isNew('truncation', [classKey, mix, seed, model])) {
        this.truncations.show(TRUNCATIONS.map((one) => this.item({ ...recipe, truncation: one })));
      }
      this.truncations.mark(recipe);
    } else if (
      this.open === 'walk' && this.isNew('walk', [classKey, mix, seed, truncation, model, this.end])
    ) {
      if (mix === null) this.walk.show(recipe, this.end);
      else this.walk.clear('A walk begins at a picture of one class.');
    }
  }

  /** @param {TrayName} name @param {unknown} purpose */
  isNew(name, purpose) {
    const text = JSON.stringify(purpose);
    if (this.filled[name] === text) return false;
    this.filled[name] = text;
    return true;
  }

  /** @param {number} size of the wall, as the reader wants it */
  enlarge(size) {
    this.setWall(size);
    this.onWall();
  }

  /** @param {number} size of the wall: as many seeds from 0 */
  setWall(size) {
    const before = this.wall;
    this.wall = size;
    const offered = [...this.count.options].find(({ value }) => Number(value) === size);
    if (offered !== undefined) offered.selected = true;
    if (this.filled.seeds === undefined || size === before) return;
    if (size < before) this.refill();
    else this.addSeeds(before);
  }

  refill() {
    this.seeds.clear();
    this.addSeeds(0);
  }

  /** @param {number} first seed that the wall does not have yet */
  addSeeds(first) {
    const { recipe } = this;
    if (recipe === null) return;
    const seeds = Array.from({ length: this.wall - first }, (_, i) => first + i);
    this.seeds.add(seeds.map((seed) => this.item({ ...recipe, seed }, `${seed}`)));
    this.seeds.mark(recipe);
  }

  /** @param {Recipe} recipe @param {string} [caption] */
  item(recipe, caption) {
    const truncation = recipe.truncation === null ? 'none' : `${recipe.truncation}`;
    const plain = { ...recipe, attentionScale: null };
    const label = `${this.className}, seed ${recipe.seed}, truncation ${truncation}`;
    return { recipe: plain, label, caption: caption ?? truncation };
  }

  /**
   * Arrow keys move between the tabs, as ARIA's pattern for tabs has it.
   * @param {KeyboardEvent} event
   */
  onKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step === undefined) return;
    const names = NAMES.filter((name) => !this.tab(name).hidden);
    const next = names[(names.indexOf(this.open) + step + names.length) % names.length];
    this.choose(next);
    this.tab(next).focus();
    event.preventDefault();
  }

  /** @param {TrayName} name */
  tab(name) {
    return element(`tab-${name}`, HTMLButtonElement);
  }
}
