/** How a picture differs from another one: amplified to be seen, and as a number. */

const GREY = 128;

/**
 * A picture in which grey means no difference; both pictures have the same size.
 * @param {ImageBitmap} one @param {ImageBitmap} other @param {number} gain how often the difference
 *   of a channel is taken
 */
export function difference(one, other, gain) {
  const { canvas, context } = canvasOf(one);
  const from = pixelsOf(other).data;
  const result = pixelsOf(one);
  for (let i = 0; i < from.length; i += 1) {
    if (i % 4 !== 3) result.data[i] = GREY + gain * (result.data[i] - from[i]); // clamped
  }
  context.putImageData(result, 0, 0);
  return canvas;
}

/**
 * How much two pictures of the same size differ: the mean over pixels and channels, in levels.
 * @param {ImageBitmap} one @param {ImageBitmap} other
 */
export function meanChange(one, other) {
  const [left, right] = [pixelsOf(one).data, pixelsOf(other).data];
  let sum = 0;
  for (let i = 0; i < left.length; i += 1) sum += Math.abs(left[i] - right[i]); // alpha is equal
  return sum / ((3 / 4) * left.length);
}

/** @param {ImageBitmap} picture */
function pixelsOf(picture) {
  const { context } = canvasOf(picture);
  context.drawImage(picture, 0, 0);
  return context.getImageData(0, 0, picture.width, picture.height);
}

/** @param {ImageBitmap} picture */
function canvasOf({ width, height }) {
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (
    canvas.getContext('2d', { willReadFrequently: true })
  );
  return { canvas, context };
}
