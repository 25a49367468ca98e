/** Light, dark, or as the system has it: a choice that this browser remembers. */

import { storage } from './storage.js';

const NAME = 'sagan-theme';
const choices = storage('localStorage');

/** @param {HTMLSelectElement} select */
export function followTheme(select) {
  const chosen = choices.getItem(NAME);
  select.value = chosen === 'light' || chosen === 'dark' ? chosen : 'system';
  const apply = () => {
    document.documentElement.dataset.theme = select.value;
    choices.setItem(NAME, select.value);
  };
  select.addEventListener('change', apply);
  apply();
}
