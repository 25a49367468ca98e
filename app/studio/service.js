/** The service: every request, its key, its errors, and when it is sent again. No document here. */

import { storage } from './storage.js';

const KEY_NAME = 'sagan-key';
const keys = storage('sessionStorage'); // of this tab
const LONGEST_WAIT_S = 10; // before a server that does not answer is asked again
const RETRIED = new Set([429, 502, 503, 504]);
const OUTAGES = new Set([0, 502, 503]); // after which the service tells when it is ready again
const WATCH_MS = 2000;

/** An error response of the service (RFC 9457), or no response at all. */
export class Problem extends Error {
  /**
   * @param {{slug: string, status: number, detail: string, retryAfterS?: number | null,
   *   suggestions?: string[]}} members `status` is 0 where the server did not answer
   */
  constructor({ slug, status, detail, retryAfterS = null, suggestions = [] }) {
    super(detail);
    this.slug = slug;
    this.status = status;
    this.retryAfterS = retryAfterS;
    this.suggestions = suggestions;
  }

  get passes() {
    return this.status === 0 || RETRIED.has(this.status);
  }
}

/**
 * Sends requests. Fires `waiting` ({problem, seconds}) before it sends a request again after a
 * while, and `recovered` when a request succeeds after that.
 */
export class Service extends EventTarget {
  /**
   * @param {string} base the address of the page, which all requests begin with
   * @param {(problem: Problem) => Promise<string>} askForKey asks the reader for an API key
   */
  constructor(base, askForKey) {
    super();
    this.base = base;
    this.askForKey = askForKey;
    /** @type {Promise<string> | null} one question at a time */
    this.asking = null;
    /** @type {Set<() => void>} */
    this.sleepers = new Set();
    /** @type {Timer} */
    this.watch = undefined;
    this.troubled = false;
  }

  get hasKey() {
    return keys.getItem(KEY_NAME) !== null;
  }

  /** @param {Manner} [manner] @returns {Promise<{default: string, models: Model[]}>} */
  async models(manner) {
    return (await this.send('models', {}, manner)).json();
  }

  /**
   * @param {string} text @param {string | null} model @param {Manner} [manner]
   * @returns {Promise<ClassEntry[]>}
   */
  async classes(text, model, manner) {
    const query = parameters({ q: text || null, model });
    return (await (await this.send(`classes${query}`, {}, manner)).json()).classes;
  }

  /** @param {Recipe} recipe @param {Manner} [manner] */
  async generate(recipe, manner = {}) {
    const query = parameters({
      ...fieldsOf(recipe, manner), attention_scale: recipe.attentionScale, format: 'png',
    });
    return picture(await this.send(`generate${query}`, { method: 'POST' }, manner));
  }

  /** The picture with this id. @param {string} id @param {Manner} [manner] */
  async image(id, manner) {
    return picture(await this.send(`images/${id}.png`, {}, manner));
  }

  /**
   * The maps of all queries of a layer: see docs/serving.md, `format=bin`.
   * @param {string} id @param {number} layer @param {Manner} [manner]
   * @returns {Promise<{shape: string, body: ArrayBuffer}>}
   */
  async attention(id, layer, manner) {
    const query = parameters({ image: id, layer, format: 'bin' });
    const response = await this.send(`attention-map${query}`, {}, manner);
    const shape = response.headers.get('X-Attention-Shape') ?? '';
    return { shape, body: await response.arrayBuffer() };
  }

  /**
   * A strip of the frames from one picture to another, both included, side by side.
   * @param {Recipe} from @param {{classKey: string | null, seed: number | null}} to
   * @param {number} frames @param {Manner} [manner]
   */
  async walk(from, to, frames, manner = {}) {
    const query = parameters({
      ...fieldsOf(from, manner), to_class: to.classKey, to_seed: to.seed, frames, format: 'strip',
    });
    return (await this.send(`interpolate${query}`, { method: 'POST' }, manner)).blob();
  }

  async isReady() {
    const response = await fetch(new URL('readyz', this.base)).catch(() => null);
    return response?.ok ?? false;
  }

  /** Ends the waits for an outage as soon as it is over: Retry-After only guesses when. */
  watchReadiness() {
    this.watch ??= setInterval(async () => {
      if (this.sleepers.size > 0 && !(await this.isReady())) return;
      clearInterval(this.watch);
      this.watch = undefined;
      this.retryNow();
    }, WATCH_MS);
  }

  retryNow() {
    for (const wake of [...this.sleepers]) wake();
  }

  /**
   * Sends a request until it is answered: waits out a full queue, a limit, a restart; asks for a
   * key. Throws a Problem that no wait mends, and AbortError.
   * @param {string} path @param {RequestInit} how @param {Manner} [manner]
   */
  async send(path, how, manner = {}) {
    for (let attempt = 0; ; attempt += 1) {
      const key = keys.getItem(KEY_NAME);
      const outcome = await this.attempt(path, how, key, manner.signal);
      if (!(outcome instanceof Problem)) {
        this.noteRecovery(manner);
        return outcome;
      }
      if (outcome.status === 401 && !manner.quiet) {
        await this.newKey(outcome, key);
      } else if (outcome.passes && !manner.quiet) {
        const seconds = outcome.retryAfterS ?? Math.min(2 ** attempt, LONGEST_WAIT_S);
        this.troubled = true;
        this.tell('waiting', { problem: outcome, seconds });
        if (OUTAGES.has(outcome.status)) this.watchReadiness();
        await this.sleep(seconds, manner.signal);
      } else {
        throw outcome;
      }
    }
  }

  /**
   * @param {string} path @param {RequestInit} how @param {string | null} key
   * @param {AbortSignal} [signal]
   */
  async attempt(path, how, key, signal) {
    const headers = new Headers(key === null ? undefined : { Authorization: `Bearer ${key}` });
    try {
      const response = await fetch(new URL(path, this.base), { ...how, headers, signal });
      return response.ok ? response : await problemOf(response);
    } catch (error) {
      if (signal?.aborted) throw error;
      return new Problem({ slug: 'unreachable', status: 0, detail: 'The server does not answer.' });
    }
  }

  /** @param {Problem} problem @param {string | null} refused the key that was sent */
  async newKey(problem, refused) {
    if (keys.getItem(KEY_NAME) !== refused) return; // another request has asked by now
    this.asking ??= this.askForKey(problem);
    try {
      keys.setItem(KEY_NAME, await this.asking);
    } finally {
      this.asking = null;
    }
  }

  /** @param {Manner} manner */
  noteRecovery(manner) {
    if (!this.troubled || manner.quiet) return;
    this.troubled = false;
    this.tell('recovered', {});
  }

  /** @param {number} seconds @param {AbortSignal} [signal] @returns {Promise<void>} */
  sleep(seconds, signal) {
    return new Promise((resolve, reject) => {
      const end = () => {
        clearTimeout(timer);
        this.sleepers.delete(end);
        signal?.removeEventListener('abort', end);
        if (signal?.aborted) reject(signal.reason);
        else resolve();
      };
      const timer = setTimeout(end, 1000 * seconds);
      this.sleepers.add(end);
      signal?.addEventListener('abort', end);
    });
  }

  /** @param {string} kind @param {object} detail */
  tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }
}

/** @param {Recipe} recipe @param {Manner} manner */
function fieldsOf({ classKey, mix, seed, truncation, model }, { bulk }) {
  const priority = bulk ? 'bulk' : null;
  return { class: mix === null ? classKey : null, mix, seed, truncation, model, priority };
}

/** @param {unknown} error @returns {boolean} whether a newer request took the place of this one */
export function isAbort(error) {
  return error instanceof DOMException && error.name === 'AbortError';
}

/**
 * A query string of the values that are not null.
 * @param {Record<string, string | number | null>} values
 */
export function parameters(values) {
  const given = Object.entries(values).filter(([, value]) => value !== null);
  const query = new URLSearchParams(given.map(([name, value]) => [name, String(value)]));
  return given.length ? `?${query}` : '';
}

/** @param {Response} response */
async function picture(response) {
  const header = (/** @type {string} */ name) => response.headers.get(name) ?? '';
  return {
    id: header('X-Image-ID'),
    model: decodeURIComponent(header('X-Model')),
    seed: Number(header('X-Seed')),
    timing: header('Server-Timing'),
    blob: await response.blob(),
  };
}

/** @param {Response} response */
async function problemOf(response) {
  const wait = Number(response.headers.get('Retry-After') ?? NaN);
  const members = await response.json().catch(() => ({}));
  return new Problem({
    slug: String(members.type ?? '').replace('/problems/', '') || 'unknown',
    status: response.status,
    detail: String(members.detail ?? `The server answered ${response.status}.`),
    retryAfterS: Number.isFinite(wait) ? wait : null,
    suggestions: members.suggestions ?? [],
  });
}
