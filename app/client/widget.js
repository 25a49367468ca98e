/** The front of AttentionWidget (widget.py): its model has the picture, its maps and the modules. */

/**
 * @import { View } from '../studio/attention_canvas.js'
 * @import { AttentionMaps } from '../studio/attention_maps.js'
 * @typedef {typeof import('../studio/attention_canvas.js')} CanvasModule
 * @typedef {typeof import('../studio/attention_maps.js')} MapsModule
 *
 * What a notebook gives a widget: traits by name, bytes as a DataView.
 * @typedef {{get(name: string): any, set(name: string, value: any): void, save_changes(): void,
 *   on(names: string, listener: () => void): void, off(names: string, listener: () => void): void,
 * }} Model
 */

const IMPORT = /^(import [^;]*?from )'\.\/(\w+\.js)';/gm;
const STYLE = 'display: block; width: 100%; max-width: 24rem; aspect-ratio: 1; touch-action: none;';
const CHANGES = 'change:picture change:maps change:shape';
const MOVES = 'change:x change:y change:mode';
/** @type {Record<string, [number, number]>} */
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * The address of a module, whose imports become addresses too: a notebook has no server for them.
 * @param {Record<string, string>} sources @param {string} name @param {Map<string, string>} known
 * @returns {string}
 */
function addressOf(sources, name, known) {
  const found = known.get(name);
  if (found !== undefined) return found;
  const source = sources[name].replace(IMPORT, (_, start, other) =>
    `${start}'${addressOf(sources, other, known)}';`);
  const address = URL.createObjectURL(new Blob([source], { type: 'text/javascript' }));
  known.set(name, address);
  return address;
}

/** @param {DataView} view @returns {ArrayBuffer} */
function bytesOf(view) {
  return /** @type {ArrayBuffer} */ (
    view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
}

/** The view of one pixel. @param {Model} model @param {AttentionMaps} maps @returns {View} */
function viewOf(model, maps) {
  const [x, y] = ['x', 'y'].map((name) => (model.get(name) + 0.5) / model.get('resolution'));
  const query = maps.queryAt(x, y);
  return {
    mode: model.get('mode'),
    smooth: true,
    layers: [{ field: maps.mapOf(query, false), colour: null }],
    markers: [{ x, y, colour: '#ffffff', label: '', target: maps.peakOf(query) }],
  };
}

/** What is shown, in words. @param {Model} model @param {AttentionMaps} maps */
function describe(model, maps) {
  const side = model.get('resolution');
  const [x, y] = [model.get('x'), model.get('y')];
  const peak = maps.peakOf(maps.queryAt((x + 0.5) / side, (y + 0.5) / side));
  const target = `${Math.floor(peak.x * side)}, ${Math.floor(peak.y * side)}`;
  const share = (100 * peak.weight).toFixed(1);
  return `Pixel ${x}, ${y} looks most at ${target}, with ${share} % of its attention.`;
}

/** Tells Python the pixel. @param {Model} model @param {number} x @param {number} y */
function pointAt(model, x, y) {
  const inside = (/** @type {number} */ pixel) =>
    Math.min(model.get('resolution') - 1, Math.max(0, Math.floor(pixel)));
  if (inside(x) === model.get('x') && inside(y) === model.get('y')) return;
  model.set('x', inside(x));
  model.set('y', inside(y));
  model.save_changes();
}

/** @param {Model} model @param {HTMLCanvasElement} canvas @param {() => number} cellPx */
function listen(model, canvas, cellPx) {
  const onPointer = (/** @type {PointerEvent} */ event) => {
    const box = canvas.getBoundingClientRect();
    const side = model.get('resolution');
    pointAt(model, side * (event.clientX - box.x) / box.width,
      side * (event.clientY - box.y) / box.height);
  };
  canvas.addEventListener('pointermove', onPointer);
  canvas.addEventListener('pointerdown', onPointer);
  canvas.addEventListener('keydown', (event) => {
    if (!(event.key in ARROWS)) return;
    const [dx, dy] = ARROWS[event.key];
    pointAt(model, model.get('x') + dx * cellPx(), model.get('y') + dy * cellPx());
    event.preventDefault();
    event.stopPropagation(); // the notebook would go to the next cell
  });
}

/** @param {{model: Model, el: HTMLElement}} context @returns {Promise<() => void>} */
async function render({ model, el }) {
  const [known, sources] = [new Map(), model.get('_modules')];
  const load = (/** @type {string} */ name) => import(addressOf(sources, name, known));
  const { AttentionCanvas } = /** @type {CanvasModule} */ (await load('attention_canvas.js'));
  const { AttentionMaps } = /** @type {MapsModule} */ (await load('attention_maps.js'));
  const canvas = document.createElement('canvas');
  const words = document.createElement('p');
  canvas.tabIndex = 0;
  canvas.setAttribute('role', 'img');
  canvas.style.cssText = STYLE;
  el.append(canvas, words);
  const drawing = new AttentionCanvas(canvas);
  /** @type {AttentionMaps | null} */
  let maps = null;
  const draw = () => {
    if (maps === null) return;
    drawing.draw(viewOf(model, maps));
    words.textContent = describe(model, maps);
    canvas.setAttribute('aria-label', words.textContent);
  };
  const change = async () => {
    const shown = new AttentionMaps(bytesOf(model.get('maps')), model.get('shape'));
    drawing.picture = await createImageBitmap(new Blob([bytesOf(model.get('picture'))]));
    maps = shown;
    draw();
  };
  await change();
  model.on(CHANGES, change);
  model.on(MOVES, draw);
  drawing.fit(canvas, draw);
  listen(model, canvas, () => Math.max(1, model.get('resolution') / (maps?.columns ?? 1)));
  return () => {
    model.off(CHANGES, change);
    model.off(MOVES, draw);
    known.forEach((address) => URL.revokeObjectURL(address));
  };
}

export default { render };
