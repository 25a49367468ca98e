/** The state of the view as the fragment of the page's address, so that a link shows it again. */

export const MAX_SEED = 2 ** 32 - 1;
const MAX_TRUNCATION = 4;
const MAX_SCALE = 2;
const MAX_PINS = 8;
const MAX_GAIN = 16;
const MAX_SEEDS = 1024;
const MAX_FRAME = 23;
const MIX = '(?:x\\d{1,3}(?:_\\d{1,5}x\\d{1,3}){1,2})?'; // after the first class of a mix
const ID = new RegExp(`[0-9a-f]{12}-\\d{1,5}${MIX}-\\d{1,10}-(?:n|\\d{1,4})(?:-a\\d{1,4})?`);
const SHARES = /^[^:,]+:[\d.]+(?:,[^:,]+:[\d.]+){1,2}$/;
const WHOLE_ID = new RegExp(`^${ID.source}$`);
const SHOWS = /** @type {const} */ (['overlay', 'heatmap', 'pair', 'contour', 'picture']);
const TRAYS = /** @type {const} */ (['seeds', 'truncation', 'walk', 'mix']);
const MOVES = /** @type {const} */ (['both', 'class', 'latent']);

/** What an image id says. @param {string} id */
export function partsOf(id) {
  const [fingerprint, classes, seed, truncation, scale] = id.split('-');
  const parts = classes.split('_').map((one) => one.split('x'));
  return {
    fingerprint,
    classKey: parts[0][0],
    mix: parts.length === 1 ? null
      : parts.map(([label, thousandths]) => `${label}:${Number(thousandths) / 1000}`).join(),
    seed: Number(seed),
    truncation: truncation === 'n' ? null : Number(truncation) / 1000,
    scale: scale === undefined ? 1 : Number(scale.slice(1)) / 1000,
  };
}

/** The first image id in a text; null if there is none. @param {string} text */
export function imageIdIn(text) {
  return ID.exec(text)?.[0] ?? null;
}

/** @returns {State} the view of a reader who has no link */
export function firstState() {
  return {
    image: null, classKey: '0', mix: null, corners: [], seed: 7, truncation: null, scale: 1,
    model: null, second: null,
    show: 'overlay', layer: -1, shared: false, turned: false, smooth: true,
    difference: false, gain: 4, at: null, pins: [],
    tray: 'seeds', seeds: 16, toClass: null, toSeed: null, moves: 'both', frame: 0,
  };
}

/**
 * The state that a fragment names; what is missing or makes no sense is as for a new reader.
 * @param {string} fragment with or without `#` @returns {State}
 */
export function readState(fragment) {
  const given = new URLSearchParams(fragment.replace(/^#/, ''));
  const text = (/** @type {string} */ name) => given.get(name) || null;
  const state = firstState();
  const image = text('image');
  if (image !== null && WHOLE_ID.test(image)) {
    const { classKey, mix, seed, truncation, scale } = partsOf(image);
    Object.assign(state, { image, classKey, mix, seed, truncation, scale });
  } else {
    state.mix = SHARES.exec(text('mix') ?? '')?.[0] ?? null;
    state.classKey = text('class') ?? state.mix?.split(':')[0] ?? state.classKey;
    state.seed = within(text('seed'), 0, MAX_SEED) ?? state.seed;
    state.truncation = within(text('truncation'), 0.001, MAX_TRUNCATION);
    state.scale = within(text('scale'), 0, MAX_SCALE) ?? 1;
    state.model = text('model');
  }
  state.corners = text('corners')?.split('_').slice(0, 3) ?? [];
  state.second = text('second');
  state.show = SHOWS.find((one) => one === text('show')) ?? state.show;
  state.tray = TRAYS.find((one) => one === text('tray')) ?? state.tray;
  state.layer = within(text('layer'), -1, 99) ?? -1;
  state.shared = text('scale-of') === 'layer';
  state.turned = text('turned') === '1';
  state.smooth = text('pixels') !== 'crisp';
  state.difference = text('difference') === '1';
  state.gain = within(text('gain'), 1, MAX_GAIN) ?? state.gain;
  state.at = points(text('at'))[0] ?? null;
  state.pins = points(text('pins')).slice(0, MAX_PINS);
  state.seeds = within(text('seeds'), 1, MAX_SEEDS) ?? state.seeds;
  state.toClass = text('to-class');
  state.toSeed = within(text('to-seed'), 0, MAX_SEED);
  state.moves = MOVES.find((one) => one === text('moves')) ?? state.moves;
  state.frame = within(text('frame'), 0, MAX_FRAME) ?? state.frame;
  return state;
}

/** The fragment of a state, without what is as for a new reader. @param {State} state */
export function fragmentOf(state) {
  const first = firstState();
  const given = new URLSearchParams();
  const put = (/** @type {string} */ name, /** @type {unknown} */ value) => {
    if (value !== null && value !== false && value !== '') given.set(name, String(value));
  };
  const putNew = (/** @type {keyof State} */ name) =>
    put(name, state[name] === first[name] ? null : state[name]);
  if (state.image !== null) {
    put('image', state.image);
  } else {
    if (state.mix === null) put('class', state.classKey);
    else put('mix', state.mix);
    put('seed', state.seed);
    put('truncation', state.truncation);
    put('scale', state.scale === 1 ? null : state.scale);
    put('model', state.model);
  }
  put('corners', state.corners.join('_'));
  put('second', state.second);
  putNew('show');
  put('layer', state.layer === -1 ? null : state.layer);
  put('scale-of', state.shared && 'layer');
  put('turned', state.turned && 1);
  put('pixels', state.smooth ? null : 'crisp');
  put('difference', state.difference && 1);
  putNew('gain');
  put('at', state.at?.join('.') ?? null);
  put('pins', state.pins.map((point) => point?.join('.') ?? '').join('_'));
  putNew('tray');
  putNew('seeds');
  put('to-class', state.toClass);
  put('to-seed', state.toSeed);
  putNew('moves');
  putNew('frame');
  return `#${given}`;
}

/** @param {string | null} text @param {number} least @param {number} most */
function within(text, least, most) {
  const number = text === null ? NaN : Number(text);
  return number >= least && number <= most ? number : null;
}

/**
 * Points, and null for each place between two `_` without a point.
 * @param {string | null} text `x.y__x.y` @returns {(Point | null)[]}
 */
function points(text) {
  return (text ?? '').split('_').map((one) => {
    const found = /^(\d{1,4})\.(\d{1,4})$/.exec(one);
    return found && [Number(found[1]), Number(found[2])];
  });
}
