/** The large picture: the point that its map is of, and the pins. */

import { AttentionCanvas } from './attention_canvas.js';
import { peak } from './attention_maps.js';
import { eachFrame, on } from './elements.js';
import { NAMES, Pins } from './pins.js';
import { listenToKeys, listenToPointer } from './pointing.js';
import { fieldOf, spotsOf, viewOf } from './shown_maps.js';

const PIN_REACH = 1 / 24; // part of the side within which a click takes a pin away

/** Fires `point` when another pixel is pointed at, and `pins` when these change. */
export class Stage extends EventTarget {
  /**
   * @param {HTMLCanvasElement} main @param {HTMLCanvasElement} beside
   * @param {Settings} settings
   */
  constructor(main, beside, settings) {
    super();
    this.canvases = [new AttentionCanvas(main), new AttentionCanvas(beside)];
    this.main = main;
    this.beside = beside;
    this.settings = settings;
    this.pins = new Pins();
    /** @type {Pin | null} the pin whose map is shown alone */
    this.selected = null;
    /** @type {AttentionMaps | null} */
    this.maps = null;
    /** @type {Point | null} */
    this.at = null;
    this.resolution = 1;
    this.byKeyboard = false;
    for (const canvas of [main, beside]) listenToPointer(this, canvas);
    listenToKeys(this, main);
    on('pins-clear', 'click', () => this.setPins([]));
    this.canvases[0].fit(main, () => this.draw());
    this.canvases[1].fit(beside, () => this.draw());
  }

  /** @param {ImageBitmap | ImageData | OffscreenCanvas} picture shown from now on */
  setPicture(picture) {
    this.resolution = picture.width;
    for (const canvas of this.canvases) {
      canvas.picture = /** @type {CanvasImageSource} */ (picture);
    }
    this.redraw();
  }

  /**
   * The maps of the picture; without a point yet, one is chosen.
   * @param {AttentionMaps | null} maps
   */
  setMaps(maps) {
    this.maps = maps;
    this.choosePoint();
    this.redraw();
    this.tell('point');
    this.tell('pins');
  }

  /** Without a point and a pin there would be no map to see. */
  choosePoint() {
    const { maps } = this;
    if (maps === null || this.at !== null || this.pins.all.length) return;
    const { x, y } = maps.queryCentre(tellingQuery(maps));
    this.at = [this.pixel(x), this.pixel(y)];
  }

  /** @param {Partial<Settings>} settings */
  set(settings) {
    Object.assign(this.settings, settings);
    this.beside.hidden = this.settings.show !== 'pair';
    this.redraw();
    this.tell('point');
    this.tell('pins');
  }

  redraw = eachFrame(() => this.draw());

  draw() {
    const { view } = this;
    const [main, beside] = this.canvases;
    if (this.settings.show !== 'pair') {
      main.draw(view);
    } else {
      main.draw({ ...view, mode: 'picture' });
      beside.draw({ ...view, mode: 'heatmap' });
    }
  }

  get hasPicture() {
    return this.canvases[0].picture !== null;
  }

  get view() {
    return viewOf(this.maps, spotsOf(this), this.settings);
  }

  describe() {
    const { at: spot } = spotsOf(this);
    if (this.maps === null || this.at === null || spot === null) return '';
    const place = `Point ${this.at.join(', ')}`;
    if (this.settings.turned) {
      const { x, y } = peak(fieldOf(this.maps, spot, this.settings));
      return `${place}: looked at most from ${this.pixel(x)}, ${this.pixel(y)}.`;
    }
    const { x, y, weight } = this.maps.peakOf(this.maps.queryAt(spot.x, spot.y));
    const share = (100 * weight).toFixed(1);
    const target = `${this.pixel(x)}, ${this.pixel(y)}`;
    return `${place}: looks most at ${target}, with ${share} % of its attention.`;
  }

  /** @param {Point | null} point */
  pointAt(point) {
    if (point?.[0] === this.at?.[0] && point?.[1] === this.at?.[1]) return;
    this.at = point;
    this.redraw();
    this.tell('point');
  }

  /** Pins a point, or takes the pin near it away. @param {Point} point */
  togglePin([x, y]) {
    const near = this.pins.near(x, y, this.resolution * PIN_REACH);
    if (near !== null) {
      this.removePin(near);
    } else if (this.pins.add(x, y) !== null) {
      this.redraw();
      this.tell('pins');
    }
  }

  /** @param {Pin} pin */
  selectPin(pin) {
    this.selected = this.selected === pin ? null : pin;
    this.pointAt(this.resting);
    this.tell('pins');
  }

  pointAtAllPins() {
    this.selected = null;
    if (this.pins.all.length) this.pointAt(null);
    this.tell('pins');
  }

  /** @param {Pin} pin */
  removePin(pin) {
    this.pins.remove(pin);
    if (this.selected === pin) {
      this.selected = null;
      this.at = null;
    }
    this.choosePoint();
    this.redraw();
    this.tell('point');
    this.tell('pins');
  }

  /** What is pointed at while no pointer is: the selected pin; null is all pins. */
  get resting() {
    return this.selected && /** @type {Point} */ ([this.selected.x, this.selected.y]);
  }

  /** @returns {Point[]} */
  get shown() {
    return this.at === null ? this.pins.all.map(({ x, y }) => [x, y]) : [this.at];
  }

  /** @param {Point} point */
  numbers([x, y]) {
    return this.maps?.numbersAt(this.part(x), this.part(y), this.settings.turned) ?? null;
  }

  /** @param {(Point | null)[]} points each at its colour's place */
  setPins(points) {
    this.pins = new Pins(points);
    this.selected = this.pins.all.find(({ x, y }) => x === this.at?.[0] && y === this.at[1]) ?? null;
    this.choosePoint();
    this.redraw();
    this.tell('pins');
  }

  get pinNames() {
    return this.pins.all.map((pin) => ({ pin, name: `${NAMES[pin.slot]}: ${pin.x}, ${pin.y}` }));
  }

  /** @param {number} part */
  pixel(part) {
    return this.inside(Math.floor(part * this.resolution));
  }

  /** @param {number} pixel */
  inside(pixel) {
    return Math.min(this.resolution - 1, Math.max(0, Math.round(pixel)));
  }

  /** The part of the side at which a pixel has its centre. @param {number} pixel */
  part(pixel) {
    return (pixel + 0.5) / this.resolution;
  }

  /** @param {'point' | 'pins'} kind */
  tell(kind) {
    this.dispatchEvent(new Event(kind));
  }
}

/**
 * A query to begin with: in the middle of the picture, and looking sharply at another part of it.
 * @param {AttentionMaps} maps
 */
function tellingQuery(maps) {
  const aside = (/** @type {{x: number, y: number}} */ { x, y }) =>
    Math.max(Math.abs(x - 0.5), Math.abs(y - 0.5));
  let best = maps.queryAt(0.5, 0.5);
  let most = 0;
  for (let query = 0; query < maps.numQueries; query += 1) {
    const from = maps.queryCentre(query);
    if (aside(from) > 0.25) continue;
    const to = maps.peakOf(query);
    if (aside(to) > 0.35) continue;
    const told = to.weight * Math.hypot(to.x - from.x, to.y - from.y);
    if (told > most) [best, most] = [query, told];
  }
  return best;
}
