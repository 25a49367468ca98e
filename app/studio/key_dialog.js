/** Asks for an API key, once; the service keeps it for this tab. */

import { element } from './elements.js';

/**
 * @param {Problem} problem why a key is needed
 * @returns {Promise<string>} the key; the dialog stays until there is one
 */
export function askForKey(problem) {
  const dialog = element('key-dialog', HTMLDialogElement);
  const form = element('key-form', HTMLFormElement);
  const input = element('key', HTMLInputElement);
  const refused = problem.message.includes('unknown');
  element('key-reason').textContent = refused
    ? 'The service does not know this key. Check it and try once more.'
    : 'This service draws pictures for people who have an API key.';
  input.value = '';
  return new Promise((resolve) => {
    dialog.addEventListener('cancel', keepOpen);
    form.addEventListener(
      'submit',
      (event) => {
        event.preventDefault();
        dialog.removeEventListener('cancel', keepOpen);
        dialog.close();
        resolve(input.value.trim());
      },
      { once: true },
    );
    dialog.showModal();
  });
}

/** Without a key there is nothing to see behind the dialog. @param {Event} event */
function keepOpen(event) {
  event.preventDefault();
}
