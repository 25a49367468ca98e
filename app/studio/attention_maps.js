/**
 * The attention of one layer of one picture: a map of h×w keys for each of H×W queries. Pure
 * arithmetic on the bytes of `format=bin` (docs/serving.md), without a document or a service.
 */

/**
 * A grid of values between 0 and 1, row by row.
 * @typedef {{values: Float32Array, rows: number, columns: number}} Field
 *
 * A cell of a grid by its centre, as parts of the picture's sides, and a weight.
 * @typedef {{x: number, y: number, weight: number}} Peak
 *
 * `distance` is a part of the picture's side, `largest` the largest weight, between 0 and 1, and
 * `mostBits` the entropy of a map that is even.
 * @typedef {{distance: number, entropyBits: number, mostBits: number, largest: number}} Numbers
 */

const FLOAT_BYTES = 4;
const BYTE = 255;

export class AttentionMaps {
  /**
   * @param {ArrayBuffer} body H·W maxima as little-endian float32, then H·W maps of h·w bytes, each
   *   scaled so that its maximum is 255
   * @param {string} shape `H,W,h,w`
   */
  constructor(body, shape) {
    const sizes = shape.split(',').map(Number);
    const [rows, columns, keyRows, keyColumns] = sizes;
    this.rows = rows;
    this.columns = columns;
    this.keyRows = keyRows;
    this.keyColumns = keyColumns;
    this.numQueries = this.rows * this.columns;
    this.numKeys = this.keyRows * this.keyColumns;
    const expected = this.numQueries * (FLOAT_BYTES + this.numKeys);
    if (sizes.length !== 4 || body.byteLength !== expected) {
      throw new RangeError(`maps of shape ${shape} have ${expected} bytes, not ${body.byteLength}`);
    }
    this.maxima = floats(body, this.numQueries);
    this.bytes = new Uint8Array(body, FLOAT_BYTES * this.numQueries);
    this.largest = this.maxima.reduce((most, one) => Math.max(most, one), 0);
  }

  /**
   * The query at a place of the picture; x and y are parts of its sides, 0 to 1.
   * @param {number} x @param {number} y
   */
  queryAt(x, y) {
    return cell(y, this.rows) * this.columns + cell(x, this.columns);
  }

  /** The key at a place of the picture. @param {number} x @param {number} y */
  keyAt(x, y) {
    return cell(y, this.keyRows) * this.keyColumns + cell(x, this.keyColumns);
  }

  /**
   * Where a query looks. With a shared scale 1 is the largest weight of the layer, else of the map.
   * @param {number} query @param {boolean} shared @returns {Field}
   */
  mapOf(query, shared) {
    const values = new Float32Array(this.numKeys);
    const scale = (shared ? this.maxima[query] / this.largest : 1) / BYTE;
    const start = query * this.numKeys;
    for (let key = 0; key < this.numKeys; key += 1) values[key] = this.bytes[start + key] * scale;
    return { values, rows: this.keyRows, columns: this.keyColumns };
  }

  /**
   * Who looks at a key: the weight that each query gives it, the transpose of the maps.
   * @param {number} key @param {boolean} shared @returns {Field}
   */
  lookersAt(key, shared) {
    const values = new Float32Array(this.numQueries);
    let most = 0;
    for (let query = 0; query < this.numQueries; query += 1) {
      const weight = (this.bytes[query * this.numKeys + key] * this.maxima[query]) / BYTE;
      values[query] = weight;
      if (weight > most) most = weight;
    }
    const scale = 1 / ((shared ? this.largest : most) || 1);
    for (let query = 0; query < this.numQueries; query += 1) values[query] *= scale;
    return { values, rows: this.rows, columns: this.columns };
  }

  /** The key that a query gives the largest weight. @param {number} query @returns {Peak} */
  peakOf(query) {
    const start = query * this.numKeys;
    const key = this.bytes.subarray(start, start + this.numKeys).indexOf(BYTE);
    return { ...this.keyCentre(Math.max(0, key)), weight: this.maxima[query] };
  }

  /** @param {number} query @returns {{x: number, y: number}} */
  queryCentre(query) {
    return centre(query, this.rows, this.columns);
  }

  /** @param {number} key @returns {{x: number, y: number}} */
  keyCentre(key) {
    return centre(key, this.keyRows, this.keyColumns);
  }

  /**
   * The numbers of what is shown for a place: of where it looks or, turned, of who looks at it.
   * @param {number} x @param {number} y parts of the picture's sides @param {boolean} turned
   * @returns {Numbers}
   */
  numbersAt(x, y, turned) {
    const [query, key] = [this.queryAt(x, y), this.keyAt(x, y)];
    const field = turned ? this.lookersAt(key, true) : this.mapOf(query, true);
    const from = turned ? this.keyCentre(key) : this.queryCentre(query);
    const largest = turned ? peak(field).weight * this.largest : this.maxima[query];
    const mostBits = Math.log2(field.values.length);
    return {
      distance: meanDistance(field, from), entropyBits: entropyBits(field), mostBits, largest,
    };
  }
}

/** How spread out a field is: its entropy in bits, 0 to log2 of its cells. @param {Field} field */
function entropyBits({ values }) {
  let sum = 0;
  let weighted = 0;
  for (const value of values) {
    if (value > 0) {
      sum += value;
      weighted += value * Math.log2(value);
    }
  }
  return sum > 0 ? Math.log2(sum) - weighted / sum : 0;
}

/**
 * The mean distance from a place to the cells of a field, weighted by it, as a part of the side.
 * @param {Field} field @param {{x: number, y: number}} from
 */
function meanDistance({ values, rows, columns }, from) {
  let sum = 0;
  let weighted = 0;
  for (let i = 0; i < values.length; i += 1) {
    const to = centre(i, rows, columns);
    sum += values[i];
    weighted += values[i] * Math.hypot(to.x - from.x, to.y - from.y);
  }
  return sum > 0 ? weighted / sum : 0;
}

/** The place of the largest value of a field. @param {Field} field @returns {Peak} */
export function peak(field) {
  let best = 0;
  for (let i = 1; i < field.values.length; i += 1) {
    if (field.values[i] > field.values[best]) best = i;
  }
  return { ...centre(best, field.rows, field.columns), weight: field.values[best] };
}

/** @param {ArrayBuffer} body @param {number} count */
function floats(body, count) {
  const view = new DataView(body);
  return Float32Array.from({ length: count }, (_, i) => view.getFloat32(FLOAT_BYTES * i, true));
}

/** @param {number} part @param {number} count */
function cell(part, count) {
  return Math.min(count - 1, Math.max(0, Math.floor(part * count)));
}

/** @param {number} index @param {number} rows @param {number} columns */
function centre(index, rows, columns) {
  return {
    x: ((index % columns) + 0.5) / columns,
    y: (Math.floor(index / columns) + 0.5) / rows,
  };
}
