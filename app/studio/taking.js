/** Takes a picture along: as a file, as a link, as code; and opens a file that was taken along. */

import { imageIdIn } from './address.js';
import { fileOf } from './attention_canvas.js';
import { element, make, on } from './elements.js';
import { curl, openai, python } from './snippets.js';

const LARGE_PX = 1024;
const HEAD_BYTES = 65_536; // of a dropped file, in which its mark stands

/** Saves a file. @param {Blob} blob @param {string} name */
export function download(blob, name) {
  const address = URL.createObjectURL(blob);
  const link = make('a', { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

/**
 * Copies a text; where the browser forbids that (no HTTPS), shows it to be copied by hand.
 * @param {string} text @returns {Promise<boolean>} whether it was copied
 */
async function copy(text) {
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
 * @param {File} file
 */
async function idOfFile(file) {
  const head = await file.slice(0, HEAD_BYTES).arrayBuffer();
  return imageIdIn(new TextDecoder('latin1').decode(head)) ?? imageIdIn(file.name);
}

/** Makes the buttons work. @param {Source} source */
export function listenToTaking({ picture, code, drawing, link, say }) {
  const copied = async (/** @type {string} */ text, /** @type {string} */ what) => {
    if (await copy(text)) say(`${what} copied.`);
  };
  on('take-link', 'click', () => void copied(link(), 'Link'));
  on('take-curl', 'click', () => void copied(curl(code()), 'curl command'));
  on('take-python', 'click', () => void copied(python(code()), 'Python'));
  on('take-openai', 'click', () => {
    if (code().recipe.mix !== null) say('OpenAI’s format has no mixes of classes.');
    else void copied(openai(code()), 'Python for OpenAI’s client');
  });
  on('copy-close', 'click', () => element('copy-dialog', HTMLDialogElement).close());
  on('take-png', 'click', () => {
    const shown = picture();
    if (shown !== null) download(shown.blob, `${shown.id}.png`);
  });
  on('take-view', 'click', async () => {
    const [shown, drawn] = [picture(), drawing()];
    if (shown === null || drawn === null) return;
    download(await fileOf(drawn, LARGE_PX, { type: 'image/png' }), `${shown.id}-attention.png`);
  });
}

/**
 * Tells of a file that is dropped anywhere, and of the id that it bears.
 * @param {(file: File, image: string | null) => void} onDrop
 */
export function listenToFiles(onDrop) {
  addEventListener('dragover', (event) => event.preventDefault());
  addEventListener('drop', async (event) => {
    event.preventDefault();
    const file = event.dataTransfer?.files[0];
    if (file) onDrop(file, await idOfFile(file));
  });
}
