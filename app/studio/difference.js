/** How a picture differs from another one, amplified. */

const GREY = 128;

/**
 * A picture in which grey means no difference; both pictures have the same size.
 * @param {ImageBitmap} one @param {ImageBitmap} other @param {number} gain how often the difference
 *   of a channel is taken
 * @returns {OffscreenCanvas}
 */
export function difference(one, other, gain) {
  const { width, height } = one;
  const canvas = new OffscreenCanvas(width, height);
  const context = /** @type {OffscreenCanvasRenderingContext2D} */ (
    canvas.getContext('2d', { willReadFrequently: true })
  );
  context.drawImage(other, 0, 0);
  const from = context.getImageData(0, 0, width, height).data;
  context.drawImage(one, 0, 0);
  const result = context.getImageData(0, 0, width, height);
  for (let i = 0; i < from.length; i += 1) {
    if (i % 4 !== 3) result.data[i] = GREY + gain * (result.data[i] - from[i]); // clamped
  }
  context.putImageData(result, 0, 0);
  return canvas;
}
