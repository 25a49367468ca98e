/**
 * Joins still WebP pictures to an animated one, which needs no decoding: the chunks of each become
 * those of a frame. "WebP Container Specification" (Google) has the format; sizes and durations are
 * little-endian, most of them of 24 bits.
 */

/** @typedef {{bytes: Uint8Array, ms: number}} Frame a WebP file, and how long it is shown */

/** @typedef {{name: string, body: Uint8Array}} Chunk */

const HEAD_BYTES = 8; // of a chunk: its name and the size of its body
const FIRST_CHUNK = 12; // in a file, after "RIFF", its size and "WEBP"
const PIXELS = new Set(['ALPH', 'VP8 ', 'VP8L']); // the chunks that a frame takes over
const ANIMATED = 0x02; // flags of VP8X
const HAS_ALPHA = 0x10;
const REPLACES = 0x02; // flag of a frame: it is not blended with the one before
const MOST = 2 ** 24 - 1; // of a duration

/**
 * The bytes of an animation that repeats for ever; all frames have the same size.
 * Throws RangeError for what is no WebP file, and for no frame.
 * @param {Frame[]} frames @param {number} width @param {number} height in pixels
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function animatedWebp(frames, width, height) {
  if (!frames.length) throw new RangeError('an animation without a frame');
  const pictures = frames.map(({ bytes }) =>
    chunksOf(bytes).filter(({ name }) => PIXELS.has(name)),
  );
  const alpha = pictures.flat().some(({ name }) => name === 'ALPH' || name === 'VP8L');
  const size = [...u24(width - 1), ...u24(height - 1)];
  const flags = ANIMATED | (alpha ? HAS_ALPHA : 0);
  const chunks = [
    chunk('VP8X', [Uint8Array.of(flags, 0, 0, 0, ...size)]),
    chunk('ANIM', [new Uint8Array(6)]), // a transparent ground, for ever
    ...pictures.map((picture, i) => {
      const ms = Math.min(MOST, Math.max(1, Math.round(frames[i].ms)));
      const head = Uint8Array.of(...u24(0), ...u24(0), ...size, ...u24(ms), REPLACES);
      return chunk('ANMF', [head, ...picture.map(({ name, body }) => chunk(name, [body]))]);
    }),
  ];
  return chunk('RIFF', [letters('WEBP'), ...chunks]);
}

/** @param {Uint8Array} bytes @returns {Chunk[]} */
function chunksOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (nameAt(bytes, 0) !== 'RIFF' || nameAt(bytes, 8) !== 'WEBP') {
    throw new RangeError('a frame is no WebP file');
  }
  const chunks = [];
  for (let at = FIRST_CHUNK; at + HEAD_BYTES <= bytes.length; ) {
    const length = view.getUint32(at + 4, true);
    const start = at + HEAD_BYTES;
    chunks.push({ name: nameAt(bytes, at), body: bytes.subarray(start, start + length) });
    at = start + length + (length % 2);
  }
  return chunks;
}

/**
 * A chunk, of an even number of bytes.
 * @param {string} name @param {Uint8Array[]} parts of its body @returns {Uint8Array<ArrayBuffer>}
 */
function chunk(name, parts) {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(HEAD_BYTES + length + (length % 2));
  bytes.set(letters(name));
  new DataView(bytes.buffer).setUint32(4, length, true);
  let at = HEAD_BYTES;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

/** @param {string} text @returns {Uint8Array} */
function letters(text) {
  return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
}

/** @param {Uint8Array} bytes @param {number} at */
function nameAt(bytes, at) {
  return String.fromCharCode(...bytes.subarray(at, at + 4));
}

/** @param {number} number @returns {number[]} its three bytes */
function u24(number) {
  return [number & 255, (number >> 8) & 255, (number >> 16) & 255];
}
