/** A mix of up to three classes: a point in a triangle, and a slider for the share of each. */

import { ClassPicker } from './class_picker.js';
import { element, make, spoken } from './elements.js';

const WHOLE = 1000; // thousandths
const MOST = 3;
const CORNERS = [[50, 6], [94, 82], [6, 82]]; // of the triangle, in the units of its drawing
const [WIDTH, HEIGHT] = [100, 88];

/**
 * The corners of a state: the classes of its picture, those chosen before, the model's first ones.
 * @param {State} state @param {number} numClasses of the model @returns {string[]}
 */
function cornersOf({ corners, mix, classKey }, numClasses) {
  const drawn = mix === null ? [classKey] : [...sharesOf(mix).keys()];
  const chosen = drawn.every((one) => corners.includes(one)) ? [] : drawn;
  const first = Array.from({ length: MOST }, (_, label) => String(label));
  const known = [...chosen, ...corners, ...first].filter((one) => !(Number(one) >= numClasses));
  return [...new Set(known)].slice(0, MOST);
}

/** @param {string} mix `5:0.5,8:0.5` */
function sharesOf(mix) {
  const pairs = mix.split(',').map((one) => one.split(':'));
  return new Map(pairs.map(([key, share]) => [key, Math.round(WHOLE * Number(share))]));
}

/** Shares as whole thousandths that sum to 1000. @param {number[]} shares */
function rounded(shares) {
  const sum = shares.reduce((all, one) => all + one, 0);
  const whole = shares.map((one) => Math.floor((WHOLE * one) / sum));
  const most = shares.indexOf(Math.max(...shares));
  whole[most] += WHOLE - whole.reduce((all, one) => all + one, 0);
  return whole;
}

/**
 * The shares after one of them was set; the others keep their proportion.
 * @param {number[]} shares @param {number} index @param {number} share in thousandths
 */
function withShare(shares, index, share) {
  const others = WHOLE - shares[index];
  return rounded(shares.map((one, i) => {
    if (i === index) return share;
    return (WHOLE - share) * (others ? one / others : 1 / (shares.length - 1));
  }));
}

/** The shares of a point; one beside the triangle stands at its edge. @param {number[]} point */
function sharesAt([x, y]) {
  const [[ax, ay], [bx, by], [cx, cy]] = CORNERS;
  const area = (by - cy) * (ax - cx) + (cx - bx) * (ay - cy);
  const first = ((by - cy) * (x - cx) + (cx - bx) * (y - cy)) / area;
  const second = ((cy - ay) * (x - cx) + (ax - cx) * (y - cy)) / area;
  return rounded([first, second, 1 - first - second].map((one) => Math.max(0, one)));
}

export class Mix {
  /** @param {Service} service @param {Change} onChange @param {(text: string) => void} say */
  constructor(service, onChange, say) {
    this.onChange = onChange;
    this.triangle = element('mix-triangle', SVGElement);
    /** @type {string[]} */
    this.corners = [];
    this.shares = [WHOLE, 0, 0];
    this.fields = Array.from({ length: MOST }, (_, i) => this.field(i, service, say));
    const drag = (/** @type {PointerEvent} */ event) => this.drag(event);
    this.triangle.addEventListener('pointerdown', drag);
    this.triangle.addEventListener('pointermove', drag);
  }

  /** @param {number} i @param {Service} service @param {(text: string) => void} say */
  field(i, service, say) {
    const [id, name] = [`mix-${i}`, `Class ${'ABC'[i]}`];
    const input = make('input', { id, type: 'text', role: 'combobox' });
    input.setAttribute('aria-controls', `${id}-list`);
    const list = make('ul', { id: `${id}-list`, role: 'listbox', ariaLabel: name, hidden: true });
    const share = make('output', {});
    const slider = make('input', {
      id: `${id}-share`, type: 'range', max: `${WHOLE}`, step: '10', ariaLabel: `Share of ${name}`,
    });
    slider.addEventListener('input', () =>
      this.mix(withShare(this.shares, i, Number(slider.value))));
    const head = make('div', { className: 'row' }, make('label', { htmlFor: id }, name), share);
    const place = make('div', { className: 'field picker' }, head, input, list, slider);
    element('mix-classes').append(place);
    const choose = (/** @type {ClassEntry} */ { index }) => this.choose(i, String(index));
    return { place, share, slider, picker: new ClassPicker(input, list, service, choose, say) };
  }

  /** @param {PointerEvent} event */
  drag({ buttons, pointerId, clientX, clientY }) {
    if (!buttons) return;
    this.triangle.setPointerCapture(pointerId);
    const box = this.triangle.getBoundingClientRect();
    const [x, y] = [(clientX - box.x) / box.width, (clientY - box.y) / box.height];
    this.mix(sharesAt([WIDTH * x, HEIGHT * y]));
  }

  /**
   * A class that another corner has changes places with it.
   * @param {number} i @param {string} key
   */
  choose(i, key) {
    const before = this.corners.indexOf(key);
    if (before >= 0) this.corners[before] = this.corners[i];
    this.corners[i] = key;
    const empty = this.shares[i] === 0; // then the reader would not see the class
    this.mix(empty ? withShare(this.shares, i, Math.round(WHOLE / MOST)) : this.shares);
  }

  /** @param {number[]} shares of the corners */
  mix(shares) {
    const parts = this.corners.map((key, i) => ({ key, share: shares[i] }));
    const mixed = parts.filter(({ share }) => share > 0);
    const [{ key }] = [...mixed].sort((one, other) => other.share - one.share);
    const mix = mixed.map((one) => `${one.key}:${one.share / WHOLE}`).join();
    const corners = [...this.corners];
    this.onChange({ classKey: key, mix: mixed.length > 1 ? mix : null, corners });
  }

  /**
   * Shows the mix of a state.
   * @param {State} state @param {Model | null} model of the picture
   * @param {(key: string) => string} nameOf a class
   */
  show(state, model, nameOf) {
    this.corners = cornersOf(state, model?.num_classes ?? Infinity);
    const shares = sharesOf(state.mix ?? `${state.classKey}:1`);
    this.shares = this.corners.map((key) => shares.get(key) ?? 0);
    this.fields.forEach(({ place, picker, slider, share }, i) => {
      place.hidden = i >= this.corners.length;
      if (place.hidden) return;
      picker.model = model?.name ?? null;
      picker.setName(nameOf(this.corners[i]));
      slider.value = String(this.shares[i]);
      share.value = slider.ariaValueText = `${Math.round(this.shares[i] / 10)} %`;
    });
    element('tab-mix').hidden = this.corners.length < 2;
    this.triangle.toggleAttribute('hidden', this.corners.length < MOST);
    this.showPoint();
  }

  /** Shows the picture beside the triangle too: the large one may be out of sight. */
  draw(/** @type {ImageBitmap | OffscreenCanvas} */ picture) {
    const canvas = element('mix-picture', HTMLCanvasElement);
    canvas.width = canvas.height = picture.width;
    canvas.getContext('2d')?.drawImage(picture, 0, 0);
  }

  showPoint() {
    const place = (/** @type {number} */ axis) =>
      this.shares.reduce((sum, share, i) => sum + (share / WHOLE) * CORNERS[i][axis], 0);
    const point = element('mix-point', SVGElement);
    point.setAttribute('cx', String(place(0)));
    point.setAttribute('cy', String(place(1)));
    this.triangle.querySelectorAll('text').forEach((text, i) => {
      text.textContent = spoken(this.fields[i].picker.name);
    });
  }
}
