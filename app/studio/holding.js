/** A button that acts while it is pressed, and a key that does the same on the picture. */

const KEY = 'c';

/**
 * @param {HTMLButtonElement} button @param {HTMLElement} picture
 * @param {(held: boolean) => void} hold
 */
export function listenToHolding(button, picture, hold) {
  const press = () => !button.disabled && hold(true);
  const release = () => hold(false);
  button.addEventListener('pointerdown', (event) => {
    button.setPointerCapture(event.pointerId); // so that it is let go anywhere on the screen
    press();
  });
  for (const kind of ['pointerup', 'pointercancel']) button.addEventListener(kind, release);
  button.addEventListener('contextmenu', (event) => event.preventDefault()); // of a long touch
  /** @type {[HTMLElement, (key: string) => boolean][]} */
  const places = [
    [button, (key) => key === ' ' || key === 'Enter'],
    [picture, (key) => key.toLowerCase() === KEY],
  ];
  for (const [place, isKey] of places) {
    place.addEventListener('keydown', ({ key, repeat, ctrlKey, metaKey }) => {
      if (isKey(key) && !repeat && !ctrlKey && !metaKey) press();
    });
    place.addEventListener('keyup', ({ key }) => isKey(key) && release());
    place.addEventListener('blur', release);
  }
}
