/** Light, dark, or as the system has it: a choice that this browser remembers. */

const NAME = 'sagan-theme';

/** @param {HTMLSelectElement} select */
export function followTheme(select) {
  const chosen = localStorage.getItem(NAME);
  select.value = chosen === 'light' || chosen === 'dark' ? chosen : 'system';
  const apply = () => {
    document.documentElement.dataset.theme = select.value;
    localStorage.setItem(NAME, select.value);
  };
  select.addEventListener('change', apply);
  apply();
}
