/** A field in which a class is found by name, alias or WordNet id: a combobox with a list. */

import { make, settled, spoken } from './elements.js';
import { Thumbnails } from './picture_list.js';

const MOST_SHOWN = 60;
const TYPING_MS = 120;

export class ClassPicker {
  /**
   * @param {HTMLInputElement} input @param {HTMLElement} list
   * @param {Service} service @param {(entry: ClassEntry) => void} onChoose
   * @param {(text: string) => void} say tells the reader
   */
  constructor(input, list, service, onChoose, say) {
    this.say = say;
    this.input = input;
    this.list = list;
    this.service = service;
    this.onChoose = onChoose;
    this.thumbnails = new Thumbnails(service, true);
    /** @type {string | null} */
    this.model = null;
    /** @type {ClassEntry[]} */
    this.found = [];
    this.active = -1;
    this.name = '';
    this.listed = ''; // the text that the list was found by
    this.controller = new AbortController();
    /** @type {{text: string, listed: Promise<void>} | null} */
    this.searching = null;
    Object.assign(input, { autocomplete: 'off', spellcheck: false, ariaAutoComplete: 'list' });
    input.ariaExpanded = 'false';
    this.listen();
  }

  /** @param {string} name */
  setName(name) {
    this.name = spoken(name);
    if (document.activeElement !== this.input) this.input.value = this.name;
  }

  listen() {
    const { input, list } = this;
    const search = settled(TYPING_MS, () => void this.search(input.value));
    input.addEventListener('input', search);
    input.addEventListener('focus', () => {
      input.select();
      void this.search('');
    });
    input.addEventListener('click', () => {
      if (list.hidden) void this.search('');
    });
    input.addEventListener('mousedown', (event) => {
      if (input.value !== this.name) return;
      event.preventDefault(); // it would put the cursor into the name, and typing would append
      input.focus();
      input.select();
    });
    input.addEventListener('blur', () => this.close());
    input.addEventListener('keydown', (event) => this.onKey(event));
    // Before the field loses the focus, which would close the list.
    list.addEventListener('pointerdown', (event) => event.preventDefault());
    list.addEventListener('click', (event) => {
      const option = event.target instanceof Element ? event.target.closest('[role=option]') : null;
      const index = [...list.children].indexOf(/** @type {Element} */ (option));
      if (index >= 0) this.choose(index);
    });
  }

  /**
   * Lists what a text finds; a second call for the same text waits for the first.
   * @param {string} text @returns {Promise<void>} settled when the list is there
   */
  search(text) {
    if (this.searching?.text !== text) {
      this.controller.abort();
      this.controller = new AbortController();
      const listed = this.fill(text, this.controller.signal);
      this.searching = { text, listed };
    }
    return this.searching.listed;
  }

  /** @param {string} text @param {AbortSignal} signal */
  async fill(text, signal) {
    try {
      const found = await this.service.classes(text.trim(), this.model, { signal, quiet: true });
      if (!signal.aborted && document.activeElement === this.input) this.open(found, text);
    } catch {
      // The notice of the picture's own request says what is wrong. A newer search goes on.
      if (!signal.aborted) this.close();
    } finally {
      if (!signal.aborted) this.searching = null;
    }
  }

  /** @param {ClassEntry[]} found @param {string} text that they were found by */
  open(found, text) {
    this.listed = text;
    this.thumbnails.clear();
    this.found = found.slice(0, MOST_SHOWN);
    this.list.replaceChildren(...this.found.map((entry, i) => this.option(entry, i)));
    if (!found.length) {
      this.list.append(make('li', { className: 'none' }, noneOf(text)));
    } else if (found.length > MOST_SHOWN) {
      const more = `${found.length - MOST_SHOWN} more: type to narrow the list`;
      this.list.append(make('li', { className: 'none' }, more));
    }
    this.list.hidden = false;
    this.input.ariaExpanded = 'true';
    this.activate(this.found.length && this.input.value !== this.name ? 0 : -1);
  }

  close() {
    this.controller.abort();
    this.searching = null;
    this.thumbnails.clear();
    this.list.hidden = true;
    this.input.ariaExpanded = 'false';
    this.input.removeAttribute('aria-activedescendant');
    this.input.value = this.name;
  }

  /** @param {ClassEntry} entry @param {number} index */
  option(entry, index) {
    const image = make('img', { alt: '', width: 40, height: 40 });
    const also = [entry.wnid, ...entry.aliases.filter((one) => one !== spoken(entry.name))];
    const small = make('small', {}, also.filter(Boolean).join(' · '));
    const text = make('span', {}, spoken(entry.name), small);
    const option = make('li', { id: `${this.list.id}-${index}`, role: 'option' }, image, text);
    option.ariaSelected = 'false';
    this.thumbnails.add(image, {
      classKey: String(entry.index), mix: null, seed: 0, truncation: null, attentionScale: null,
      model: this.model,
    });
    return option;
  }

  /** @param {KeyboardEvent} event */
  onKey(event) {
    const { key } = event;
    if (key === 'Escape') {
      this.close();
    } else if (key === 'Enter') {
      event.preventDefault();
      void this.enter();
    } else if (key === 'ArrowDown' || key === 'ArrowUp') {
      event.preventDefault();
      if (this.list.hidden) void this.search('');
      else this.activate(this.active + (key === 'ArrowDown' ? 1 : -1));
    }
  }

  /** Chooses the marked class; of a text whose list has not come yet, the first that it finds. */
  async enter() {
    const { value } = this.input;
    if (value === this.name && (this.list.hidden || this.active < 0)) {
      if (this.list.hidden) void this.search('');
      else this.close();
      return;
    }
    if (value !== this.name) {
      if (value !== this.listed) await this.search(value);
      if (this.input.value !== value || this.listed !== value) return; // typed on, or no answer
    }
    if (this.found.length) this.choose(Math.max(0, this.active));
    else this.say(noneOf(value));
  }

  /** @param {number} index */
  activate(index) {
    const count = this.found.length;
    this.active = count ? (index + count + (index < -1 ? 1 : 0)) % count : -1;
    if (index === -1) this.active = -1;
    this.found.forEach((_, i) => {
      const option = this.list.children[i];
      option.ariaSelected = String(i === this.active);
      if (i === this.active) option.scrollIntoView({ block: 'nearest' });
    });
    if (this.active < 0) this.input.removeAttribute('aria-activedescendant');
    else this.input.setAttribute('aria-activedescendant', `${this.list.id}-${this.active}`);
  }

  /** @param {number} index */
  choose(index) {
    const entry = this.found[index];
    if (entry === undefined) return;
    this.name = spoken(entry.name);
    this.close();
    this.onChoose(entry);
  }
}

/** @param {string} text */
function noneOf(text) {
  return `No class has “${text.trim()}” in its name.`;
}
