/** What the browser keeps for the page; where it keeps nothing for any page, what this page does. */

/**
 * @param {'localStorage' | 'sessionStorage'} name
 * @returns {Pick<Storage, 'getItem' | 'setItem' | 'removeItem'>}
 */
export function storage(name) {
  try {
    return window[name]; // throws where a reader or a frame forbids it
  } catch {
    /** @type {Map<string, string>} */
    const kept = new Map();
    return {
      getItem: (key) => kept.get(key) ?? null,
      setItem: (key, value) => void kept.set(key, value),
      removeItem: (key) => void kept.delete(key),
    };
  }
}
