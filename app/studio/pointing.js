/** What a pointer, a finger or the keyboard does on a picture: it points, and pins. */

const TAP_PX = 8; // a finger that moved less has tapped
const LARGE_STEP = 4;
/** @type {Record<string, Point>} */
const ARROWS = {
  ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
};

/** @param {Stage} stage @param {HTMLCanvasElement} canvas of the stage */
export function listenToPointer(stage, canvas) {
  /** @type {PointerEvent | null} */
  let pressed = null;
  canvas.addEventListener('pointermove', (event) => {
    stage.byKeyboard = false;
    stage.pointAt(pixelUnder(stage, event));
  });
  canvas.addEventListener('pointerdown', (event) => {
    pressed = event;
    if (event.pointerType !== 'mouse') canvas.setPointerCapture(event.pointerId);
    stage.pointAt(pixelUnder(stage, event));
  });
  canvas.addEventListener('pointerup', (event) => {
    const moved = pressed && Math.hypot(event.x - pressed.x, event.y - pressed.y);
    if (moved !== null && moved < TAP_PX && event.button === 0) {
      stage.togglePin(pixelUnder(stage, event));
    }
    pressed = null;
  });
  canvas.addEventListener('pointercancel', () => (pressed = null));
  canvas.addEventListener('pointerleave', ({ pointerType }) => {
    // A finger leaves when it is lifted, and what it pointed at is still to be seen.
    if (pointerType === 'mouse' && stage.pins.all.length) stage.pointAt(stage.resting);
  });
}

/** @param {Stage} stage @param {PointerEvent} event @returns {Point} */
function pixelUnder(stage, event) {
  const canvas = /** @type {HTMLCanvasElement} */ (event.currentTarget);
  const box = canvas.getBoundingClientRect();
  const [x, y] = [(event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height];
  return [stage.pixel(x), stage.pixel(y)];
}

/** @param {Stage} stage @param {HTMLCanvasElement} canvas that has the focus */
export function listenToKeys(stage, canvas) {
  canvas.addEventListener('keydown', (event) => {
    if (onKey(stage, event)) event.preventDefault();
  });
}

/** @param {Stage} stage @param {KeyboardEvent} event @returns {boolean} whether it means anything */
function onKey(stage, { key, shiftKey }) {
  const middle = Math.floor(stage.resolution / 2);
  const [x, y] = stage.at ?? [middle, middle];
  if (key in ARROWS) {
    const cell = stage.maps === null ? 1 : Math.max(1, stage.resolution / stage.maps.columns);
    const step = cell * (shiftKey ? LARGE_STEP : 1);
    const [dx, dy] = ARROWS[key];
    stage.byKeyboard = true;
    stage.pointAt([stage.inside(x + dx * step), stage.inside(y + dy * step)]);
  } else if (key === 'Enter' || key === ' ') {
    stage.togglePin([x, y]);
  } else if (key === 'Escape') {
    stage.pointAtAllPins();
  } else {
    return false;
  }
  return true;
}
