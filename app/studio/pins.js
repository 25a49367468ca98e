/** Points of the picture that stay: up to eight, each in a colour of its own. */

/** The palette of Okabe and Ito, which colour-blind eyes tell apart, with white for black. */
export const COLOURS = [
  '#e69f00', '#56b4e9', '#009e73', '#f0e442', '#0072b2', '#d55e00', '#cc79a7', '#ffffff',
];
export const NAMES = [
  'orange', 'sky blue', 'green', 'yellow', 'blue', 'vermilion', 'purple', 'white',
];

export class Pins {
  /** @param {(Point | null)[]} [points] as `points` gives them */
  constructor(points = []) {
    /** @type {Pin[]} */
    this.all = [];
    points.forEach((point, slot) => {
      if (point !== null && slot < COLOURS.length) this.all.push({ x: point[0], y: point[1], slot });
    });
  }

  /** Pins a point; returns null if there are eight already. @param {number} x @param {number} y */
  add(x, y) {
    const taken = new Set(this.all.map((pin) => pin.slot));
    const slot = COLOURS.findIndex((_, i) => !taken.has(i));
    if (slot < 0) return null;
    const pin = { x, y, slot };
    this.all.push(pin);
    this.all.sort((one, other) => one.slot - other.slot); // the same order as in a link's reader
    return pin;
  }

  /**
   * The pin nearest to a point, if it is within `reach` pixels.
   * @param {number} x @param {number} y @param {number} reach
   */
  near(x, y, reach) {
    const away = (/** @type {Pin} */ pin) => Math.hypot(pin.x - x, pin.y - y);
    const [nearest] = [...this.all].sort((one, other) => away(one) - away(other));
    return nearest !== undefined && away(nearest) <= reach ? nearest : null;
  }

  /** @param {Pin} pin */
  remove(pin) {
    this.all = this.all.filter((one) => one !== pin);
  }

  /**
   * The pixels of the pins, each at its place in the palette; null where the colour is free.
   * @returns {(Point | null)[]}
   */
  get points() {
    const last = this.all.at(-1)?.slot ?? -1;
    return Array.from({ length: last + 1 }, (_, slot) => {
      const pin = this.all.find((one) => one.slot === slot);
      return pin === undefined ? null : [pin.x, pin.y];
    });
  }
}
