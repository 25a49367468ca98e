/** Contour lines of a field by marching squares. */

/** @import { Field } from './attention_maps.js' */

/**
 * The corner values of a square say which of its sides a line crosses: 0 top, 1 right, 2 bottom,
 * 3 left. The two ambiguous squares get two lines.
 * @type {[number, number][][]}
 */
const CROSSED = [
  [], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], [[3, 0], [1, 2]], [[0, 2]], [[3, 2]],
  [[2, 3]], [[2, 0]], [[0, 1], [2, 3]], [[2, 1]], [[1, 3]], [[1, 0]], [[0, 3]], [],
];

/**
 * The lines at which a field has the value `level`, as parts of the picture's sides.
 * @param {Field} field @param {number} level between 0 and 1
 * @returns {[number, number, number, number][]} x and y of both ends of each piece
 */
export function contours({ values, rows, columns }, level) {
  /** @type {[number, number, number, number][]} */
  const pieces = [];
  for (let row = 0; row < rows - 1; row += 1) {
    for (let column = 0; column < columns - 1; column += 1) {
      const first = row * columns + column;
      const corners = [
        values[first], values[first + 1], values[first + columns + 1], values[first + columns],
      ];
      const which = corners.reduce((bits, value, i) => bits | (value >= level ? 1 << i : 0), 0);
      for (const [start, end] of CROSSED[which]) {
        const [ax, ay] = crossing(corners, start, level);
        const [bx, by] = crossing(corners, end, level);
        pieces.push([
          (column + 0.5 + ax) / columns, (row + 0.5 + ay) / rows,
          (column + 0.5 + bx) / columns, (row + 0.5 + by) / rows,
        ]);
      }
    }
  }
  return pieces;
}

/** @param {number[]} corners @param {number} side @param {number} level */
function crossing(corners, side, level) {
  const [from, to] = [corners[side], corners[(side + 1) % 4]];
  const part = (level - from) / (to - from);
  return [[part, 0], [1, part], [1 - part, 1], [0, 1 - part]][side];
}
