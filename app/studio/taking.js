/** Takes a picture along: as a file, as a link, as code; and opens a file that was taken along. */

import { imageIdIn } from './address.js';
import { AttentionCanvas } from './attention_canvas.js';
import { element, make } from './elements.js';

const LARGE_PX = 1024;
const HEAD_BYTES = 65_536; // of a dropped file, in which its mark stands

/** @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = make('a', { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

/**
 * What a canvas shows, as a PNG of 1,024 pixels.
 * @param {CanvasImageSource} picture @param {import('./attention_canvas.js').View} view
 */
export async function enlarged(picture, view) {
  const canvas = new OffscreenCanvas(LARGE_PX, LARGE_PX);
  const drawing = new AttentionCanvas(canvas);
  drawing.picture = picture;
  drawing.draw(view);
  return canvas.convertToBlob({ type: 'image/png' });
}

/**
 * Copies a text; where the browser forbids that (no HTTPS), shows it to be copied by hand.
 * @param {string} text @returns {Promise<boolean>} whether it was copied
 */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = element('copy-text', HTMLTextAreaElement);
    area.value = text;
    element('copy-dialog', HTMLDialogElement).showModal();
    area.select();
    return false;
  }
}

/**
 * The image id that a file bears in a text chunk or in XMP, or else in its name.
 * @param {File} file @returns {Promise<string | null>}
 */
export async function idOfFile(file) {
  const head = await file.slice(0, HEAD_BYTES).arrayBuffer();
  return imageIdIn(new TextDecoder('latin1').decode(head)) ?? imageIdIn(file.name);
}
