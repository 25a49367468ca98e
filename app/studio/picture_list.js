/** Small pictures in a list, drawn as bulk jobs, a few at a time, when they come into view. */

import { button, make } from './elements.js';
import { isAbort } from './service.js';

const AT_ONCE = 4;
const MARGIN = '160px'; // how far below the view a picture is already asked for

export class Thumbnails {
  /** @param {Service} service @param {boolean} [quiet] whether a failure is not waited for */
  constructor(service, quiet = false) {
    this.service = service;
    this.quiet = quiet;
    this.controller = new AbortController();
    /** @type {Map<Element, Recipe>} */
    this.wanted = new Map();
    /** @type {Set<string>} */
    this.addresses = new Set();
    /** @type {HTMLImageElement[]} */
    this.queue = [];
    this.running = 0;
    this.observer = new IntersectionObserver((entries) => this.noteVisible(entries), {
      rootMargin: MARGIN,
    });
  }

  /** @param {HTMLImageElement} image @param {Recipe} recipe */
  add(image, recipe) {
    this.wanted.set(image, recipe);
    this.observer.observe(image);
  }

  clear() {
    this.controller.abort();
    this.controller = new AbortController();
    this.observer.disconnect();
    this.wanted.clear();
    this.queue = [];
    this.running = 0;
    for (const address of this.addresses) URL.revokeObjectURL(address);
    this.addresses.clear();
  }

  /** @param {IntersectionObserverEntry[]} entries */
  noteVisible(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting && target instanceof HTMLImageElement) {
        this.observer.unobserve(target);
        this.queue.push(target);
      }
    }
    while (this.running < AT_ONCE && this.queue.length) void this.drawNext();
  }

  async drawNext() {
    const image = this.queue.shift();
    const recipe = image && this.wanted.get(image);
    if (!image || !recipe) return;
    const { signal } = this.controller;
    this.running += 1;
    try {
      const manner = { signal, bulk: true, quiet: this.quiet };
      const { blob } = await this.service.generate(recipe, manner);
      const address = URL.createObjectURL(blob);
      this.addresses.add(address);
      image.src = address;
      image.dataset.state = 'drawn';
    } catch (error) {
      if (signal.aborted || isAbort(error)) return;
      image.dataset.state = 'failed';
    }
    this.running -= 1;
    if (!signal.aborted) void this.drawNext();
  }
}

export class PictureList {
  /**
   * @param {HTMLElement} place @param {Service} service
   * @param {(recipe: Recipe) => void} onChoose
   */
  constructor(place, service, onChoose) {
    this.place = place;
    this.thumbnails = new Thumbnails(service);
    this.onChoose = onChoose;
    /** @type {Map<string, HTMLButtonElement>} */
    this.buttons = new Map();
  }

  /** @param {Item[]} items */
  show(items) {
    this.clear();
    this.add(items);
  }

  clear() {
    this.thumbnails.clear();
    this.buttons.clear();
    this.place.replaceChildren();
  }

  /** @param {Item[]} items */
  add(items) {
    for (const { recipe, label, caption } of items) {
      const image = make('img', { alt: '', width: 96, height: 96, decoding: 'async' });
      const text = make('span', {}, caption);
      const choice = button(() => this.onChoose(recipe), image, text);
      choice.ariaLabel = label;
      this.buttons.set(keyOf(recipe), choice);
      this.place.append(make('li', {}, choice));
      this.thumbnails.add(image, recipe);
    }
  }

  /** @param {Recipe} recipe */
  mark(recipe) {
    for (const [key, button] of this.buttons) {
      button.ariaCurrent = key === keyOf(recipe) ? 'true' : 'false';
    }
  }
}

/** @param {Recipe} recipe */
function keyOf({ classKey, seed, truncation }) {
  return `${classKey} ${seed} ${truncation}`;
}
