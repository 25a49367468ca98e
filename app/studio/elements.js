/** Elements of the page: found by id, or made. */

/**
 * The element with this id; throws TypeError if it is missing or of another kind.
 * @template {Element} [T=HTMLElement] @param {string} id @param {new () => T} [kind] @returns {T}
 */
export function element(id, kind = /** @type {any} */ (HTMLElement)) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new TypeError(`#${id} is no ${kind.name}`);
  return found;
}

/**
 * Acts on each event of an element.
 * @param {string} id @param {string} kind @param {(event: Event) => void} act
 */
export function on(id, kind, act) {
  element(id).addEventListener(kind, act);
}

/** Shows a text, if it is a new one. @param {string} id of an element @param {string} text */
export function put(id, text) {
  const place = element(id);
  if (place.textContent !== text) place.textContent = text;
}

/**
 * @template {keyof HTMLElementTagNameMap} K @param {K} tag
 * @param {Partial<HTMLElementTagNameMap[K]>} [properties] @param {(Node | string)[]} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

/** A button that acts. @param {() => void} act @param {(Node | string)[]} children */
export function button(act, ...children) {
  const made = make('button', {}, ...children);
  made.addEventListener('click', act);
  return made;
}

/** @param {unknown} error */
export function inWords(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * Calls `draw` before the next frame, however often it is called until then.
 * @param {() => void} draw @returns {() => void}
 */
export function eachFrame(draw) {
  let scheduled = 0;
  return () => {
    scheduled ||= requestAnimationFrame(() => {
      scheduled = 0;
      draw();
    });
  };
}

/**
 * A class as people write it, `golden_retriever` -> `golden retriever`, or a mix of them.
 * @param {string} name
 */
export function spoken(name) {
  const share = (/** @type {string} */ _, /** @type {number} */ part, /** @type {string} */ end) =>
    ` ${Math.round(100 * part)} %${end && ', '}`;
  return name.replaceAll('_', ' ').replace(/:(0\.\d+)(,|$)/g, share);
}

/**
 * Calls `work` at once, but at most every `ms` milliseconds; the last call is never lost.
 * @param {number} ms @param {() => void} work @returns {() => void}
 */
export function throttled(ms, work) {
  let last = -Infinity;
  /** @type {Timer} */
  let timer;
  return () => {
    const run = () => {
      timer = undefined;
      last = performance.now();
      work();
    };
    const wait = last + ms - performance.now();
    if (wait <= 0) run();
    else timer ??= setTimeout(run, wait);
  };
}

/**
 * @template {unknown[]} A @param {number} ms @param {(...values: A) => void} work
 * @returns {(...values: A) => void}
 */
export function settled(ms, work) {
  /** @type {Timer} */
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...values), ms);
  };
}
