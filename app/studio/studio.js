/** The studio page: joins the service, the picture, the controls and the address. */

import { firstState, fragmentOf, MAX_SEED, partsOf, readState } from './address.js';
import { adviceOn } from './advice.js';
import { AttentionMaps } from './attention_maps.js';
import { showCaption } from './caption.js';
import { ClassPicker } from './class_picker.js';
import { Comparison } from './comparison.js';
import { Dial } from './dial.js';
import { element, settled, spoken, throttled } from './elements.js';
import { listenToHolding } from './holding.js';
import { askForKey } from './key_dialog.js';
import { showModels } from './model_choice.js';
import { showScale } from './legend.js';
import { Notices } from './notices.js';
import { listPins } from './pin_list.js';
import { COLOURS } from './pins.js';
import { readPicture, readPins, readPoint } from './readings.js';
import { RecipeControls } from './recipe_controls.js';
import { isAbort, Problem, Service } from './service.js';
import { Stage } from './stage.js';
import { listenToFiles, listenToTaking } from './taking.js';
import { followTheme } from './theme.js';
import { Tray } from './tray.js';

/**
 * @typedef {import('./address.js').State} State
 * @typedef {import('./address.js').Show} Show
 * @typedef {import('./service.js').ClassEntry} ClassEntry
 * @typedef {import('./service.js').Model} Model
 * @typedef {import('./service.js').Picture} Picture
 * @typedef {import('./service.js').Recipe} Recipe
 */

const ADDRESS_MS = 300; // browsers allow few changes of the address in a second
const SPEAK_MS = 500;
const READ_MS = 120;
const DRAW_MS = 200; // after the last change of what is typed or dragged
const SLOW_MS = 3000; // after which a reader is told why the picture does not come
const checkbox = (/** @type {string} */ id) => element(id, HTMLInputElement);

class Studio {
  constructor() {
    this.state = readState(location.hash);
    this.service = new Service(document.baseURI, askForKey);
    this.notices = new Notices(element('notice', HTMLElement), () => this.service.retryNow());
    this.stage = new Stage(
      element('picture', HTMLCanvasElement), element('beside', HTMLCanvasElement), this.state,
    );
    this.saveSoon = settled(ADDRESS_MS, () => this.save(false));
    this.dial = new Dial();
    this.comparison = new Comparison(this.service);
    this.picker = new ClassPicker(
      checkbox('class'), element('class-list', HTMLElement), this.service,
      (entry) => this.change({ classKey: String(entry.index) }), (text) => this.say(text, true),
    );
    this.endPicker = new ClassPicker(
      checkbox('to-class'), element('to-class-list', HTMLElement), this.service,
      (entry) => this.changeEnd({ toClass: String(entry.index) }), (text) => this.say(text, true),
    );
    this.tray = new Tray(
      this.service,
      (recipe) => this.change({ seed: recipe.seed, truncation: recipe.truncation }, true),
      (tray) => this.changeView({ tray }),
      this.saveSoon,
      (text) => this.say(text),
    );
    /** @type {Picture | null} */
    this.picture = null;
    /** @type {Model[]} */
    this.models = [];
    /** @type {Map<string, ClassEntry[]>} the classes of each model */
    this.classes = new Map();
    this.drawing = new AbortController();
    this.drawSoon = settled(DRAW_MS, () => this.pending && this.change({}));
    this.pending = false; // whether a change waits for the reader to stop
    this.controls = new RecipeControls(
      (changes) => this.change(changes), (changes) => this.changeSoon(changes),
      (changes) => this.changeEnd(changes),
    );
    this.speakSoon = settled(SPEAK_MS, () => this.say(this.stage.describe()));
  }

  start() {
    followTheme(element('theme', HTMLSelectElement));
    this.listenToService();
    this.listenToStage();
    this.listenToControls();
    addEventListener('popstate', () => this.goTo(readState(location.hash)));
    this.placePoints();
    this.showState();
    this.tray.choose(this.state.tray);
    void this.draw();
    void this.learn();
  }

  /** What determines the picture. @returns {Recipe} */
  get recipe() {
    const { classKey, seed, truncation, scale, model } = this.state;
    return { classKey, seed, truncation, attentionScale: scale === 1 ? null : scale, model };
  }

  /** The class of the picture that is shown. */
  get className() {
    const label = this.picture?.id.split('-')[1];
    const known = this.classes.get(this.picture?.model ?? '') ?? [];
    return known.find((one) => String(one.index) === label)?.name ?? '';
  }

  /** The model of the picture. */
  get model() {
    const id = this.picture?.id ?? '';
    return this.models.find((one) => one.fingerprint.startsWith(id.split('-')[0])) ?? null;
  }

  /** Learns what models there are, and whether γ can be scaled; the picture does not wait. */
  async learn() {
    try {
      const { models } = await this.service.models();
      this.models = models;
      this.showModels();
      const scalable = await this.service.hasAttentionScale().catch(() => false);
      element('dial', HTMLElement).hidden = !scalable;
    } catch (error) {
      this.report(error);
    }
  }

  /** Draws the picture of the state, then its attention. */
  async draw() {
    this.drawing.abort();
    this.pending = false;
    const { signal } = (this.drawing = new AbortController());
    const page = document.body.dataset;
    page.state = 'drawing';
    const slow = setTimeout(() => void this.explain(signal), SLOW_MS);
    try {
      const { image } = this.state;
      const picture = image === null
        ? await this.service.generate(this.recipe, { signal })
        : await this.service.image(image, { signal });
      await this.showPicture(picture, signal);
      await this.loadMaps(signal);
      page.state = 'drawn';
      this.showDifference(signal, true).catch(this.report);
      this.tray.fill(this.recipe, this.className, this.walkEnd);
    } catch (error) {
      if (signal.aborted || isAbort(error)) return;
      page.state = 'failed';
      this.report(error);
    } finally {
      clearTimeout(slow);
    }
  }

  /** Says why the picture does not come. @param {AbortSignal} signal */
  async explain(signal) {
    const ready = await this.service.isReady();
    const { state } = document.body.dataset;
    if (signal.aborted || this.service.troubled || state !== 'drawing') return;
    this.notices.tell(
      ready
        ? 'The service is busy, and the picture waits in the queue. It comes when it is its turn.'
        : 'No worker is ready at the moment. The picture comes as soon as there is one.',
    );
  }

  /** @param {Picture} picture @param {AbortSignal} signal */
  async showPicture(picture, signal) {
    const bitmap = await createImageBitmap(picture.blob);
    if (signal.aborted) {
      bitmap.close();
      return;
    }
    this.picture = picture;
    this.comparison.setPicture(bitmap);
    this.stage.maps = null;
    this.notices.clear();
    const { classKey, seed, truncation } = partsOf(picture.id);
    Object.assign(this.state, { image: picture.id, classKey, seed, truncation });
    await this.showDifference(signal);
    readPicture(picture);
    await this.loadClasses(picture.model, signal);
    this.showState();
    this.saveSoon();
  }

  /**
   * Shows the picture, or how it differs from that with γ as it is.
   * @param {AbortSignal} signal @param {boolean} [load] the latter, even if it is not shown yet
   */
  async showDifference(signal, load = false) {
    const { comparison, recipe, state, picture } = this;
    if (load || state.scale === 1 || state.difference) {
      await comparison.load({ ...recipe, model: picture?.model ?? recipe.model }, signal);
    }
    this.showComparison();
  }

  showComparison() {
    const { comparison, state } = this;
    const shown = comparison.shown(state);
    if (shown !== null) this.stage.setPicture(shown);
    this.readPoint();
    element('change', HTMLElement).textContent = comparison.note(state);
    const other = state.scale !== 1 && comparison.plain !== null;
    element('hold', HTMLButtonElement).disabled = !other || state.show === 'heatmap';
  }

  /** Shows the picture with γ as it is for as long as the reader holds it. @param {boolean} held */
  hold(held) {
    if (this.comparison.held === held) return;
    this.comparison.held = held;
    this.showComparison();
  }

  /** @param {AbortSignal} signal */
  async loadMaps(signal) {
    const { picture } = this;
    if (picture === null) return;
    try {
      const { layer } = this.state;
      const { shape, body } = await this.service.attention(picture.id, layer, { signal });
      this.stage.setMaps(new AttentionMaps(body, shape));
    } catch (error) {
      if (!(error instanceof Problem) || error.status !== 422) throw error;
      this.stage.setMaps(null);
      this.notices.tell(`The picture has no attention to show: ${error.message}.`);
    }
  }

  /** @param {string} model @param {AbortSignal} signal */
  async loadClasses(model, signal) {
    if (this.classes.has(model)) return;
    this.classes.set(model, await this.service.classes('', model, { signal }));
  }

  /**
   * Draws another picture. One from the tray is drawn with γ as it is.
   * @param {Partial<State>} changes @param {boolean} [plain]
   */
  change(changes, plain = false) {
    Object.assign(this.state, changes, { image: null }, plain ? { scale: 1 } : {});
    this.save(true);
    this.showState();
    void this.draw();
  }

  /**
   * Draws another picture as soon as the reader stops changing it. The state changes at once, and
   * the picture before is given up: its arrival would set the controls back under the reader's hand.
   * @param {Partial<State>} changes
   */
  changeSoon(changes) {
    this.drawing.abort();
    document.body.dataset.state = 'drawing';
    this.pending = true;
    Object.assign(this.state, changes, { image: null });
    this.controls.show(this.state);
    this.drawSoon();
  }

  /** @param {Partial<State>} changes of how the same picture is shown */
  changeView(changes) {
    const layer = this.state.layer;
    Object.assign(this.state, changes);
    this.stage.set(this.state);
    this.showView();
    this.readPoint();
    this.saveSoon();
    if (this.state.layer !== layer) void this.draw();
  }

  /** @param {Partial<State>} changes of where the walk goes */
  changeEnd(changes) {
    Object.assign(this.state, changes);
    this.showEnd();
    this.saveSoon();
    this.tray.fill(this.recipe, this.className, this.walkEnd);
  }

  /** Where the walk goes: to the next seed, unless the reader has chosen. */
  get walkEnd() {
    const { toClass, toSeed, seed, moves } = this.state;
    const next = toSeed ?? (seed === MAX_SEED ? 0 : seed + 1);
    return {
      classKey: moves === 'latent' ? null : toClass,
      seed: moves === 'class' && toClass !== null ? null : next,
    };
  }

  /** @param {State} state of a link, or of a step back */
  goTo(state) {
    this.state = state;
    this.stage.settings = state;
    this.placePoints();
    this.showState();
    this.tray.choose(state.tray);
    void this.draw();
  }

  /** Writes the view into the address. @param {boolean} step whether "back" leads here again */
  save(step) {
    this.state.at = this.stage.at;
    this.state.pins = this.stage.pins.points;
    this.state.frame = this.tray.walk.frame;
    this.state.seeds = this.tray.wall;
    const fragment = fragmentOf(this.state);
    if (step) history.pushState(null, '', fragment);
    else history.replaceState(null, '', fragment);
  }

  /** Points, pins, wall and walk of the state; else the reader moves them. */
  placePoints() {
    this.tray.setWall(this.state.seeds);
    this.tray.walk.frame = this.state.frame;
    this.stage.at = this.state.at;
    this.stage.setPins(this.state.pins);
  }

  /** Shows the state in all controls. */
  showState() {
    const { state, stage } = this;
    this.controls.show(state);
    this.dial.show(state);
    this.showNames();
    this.showView();
    this.showEnd();
    stage.set(state);
  }

  showNames() {
    const name = spoken(this.className);
    if (!name) return;
    const seed = `seed ${this.picture?.seed}`;
    this.picker.model = this.endPicker.model = this.picture?.model ?? null;
    this.picker.setName(this.className);
    document.title = `${name} · ${seed} — SAGAN studio`;
    element('caption-class', HTMLElement).textContent = name;
    element('caption-seed', HTMLElement).textContent = seed;
  }

  showView() {
    const { state } = this;
    for (const radio of document.querySelectorAll('input[name=show]')) {
      if (radio instanceof HTMLInputElement) radio.checked = radio.value === state.show;
    }
    checkbox('turned').checked = state.turned;
    checkbox('shared').checked = state.shared;
    checkbox('smooth').checked = state.smooth;
    this.tray.walk.smooth = state.smooth;
    document.body.dataset.pixels = state.smooth ? 'smooth' : 'crisp';
    this.showModels();
  }

  showModels() {
    const { layer, model } = this.state;
    showModels(this.models, this.model, this.picture?.model ?? model ?? '', layer);
  }

  showEnd() {
    const { seed } = this.walkEnd;
    const known = this.classes.get(this.picture?.model ?? '') ?? [];
    const key = this.state.toClass ?? this.state.classKey;
    const chosen = known.find((one) => String(one.index) === key);
    this.controls.showEnd(seed ?? this.state.seed);
    if (chosen !== undefined) this.endPicker.setName(chosen.name);
  }

  listenToService() {
    this.service.addEventListener('waiting', (event) => {
      const { problem, seconds } = /** @type {CustomEvent} */ (event).detail;
      this.notices.waiting(problem, seconds);
    });
    this.service.addEventListener('recovered', () => this.notices.clear());
  }

  listenToStage() {
    const { stage } = this;
    // Faster than anybody reads, text would only delay the picture.
    const read = throttled(READ_MS, () => this.readPoint());
    stage.addEventListener('point', () => {
      read();
      if (stage.byKeyboard) this.speakSoon();
      this.saveSoon();
    });
    stage.addEventListener('pins', () => {
      const pins = stage.pinNames.map(({ pin, name }) => ({
        name, colour: COLOURS[pin.slot], label: String(pin.slot + 1),
        selected: pin === stage.selected,
        select: () => stage.selectPin(pin), remove: () => stage.removePin(pin),
      }));
      listPins(element('pin-list', HTMLElement), pins);
      element('pins', HTMLElement).hidden = pins.length === 0;
      readPins(stage);
      read();
      this.saveSoon();
    });
  }

  /** Shows the point's numbers, the scale of the map and a caption that says what is seen. */
  readPoint() {
    const { stage, state, comparison } = this;
    readPoint(stage);
    showScale(stage);
    const numPins = stage.at === null ? stage.pins.all.length : 0;
    showCaption({ ...state, numPins, held: comparison.held });
  }

  listenToControls() {
    /** @type {(id: string, kind: string, act: () => void) => void} */
    const on = (id, kind, act) => element(id, HTMLElement).addEventListener(kind, act);
    on('show', 'input', () => {
      const chosen = document.querySelector('input[name=show]:checked');
      if (!(chosen instanceof HTMLInputElement)) return;
      this.changeView({ show: /** @type {Show} */ (chosen.value) });
    });
    for (const name of /** @type {const} */ (['turned', 'shared', 'smooth'])) {
      on(name, 'input', () => this.changeView({ [name]: checkbox(name).checked }));
    }
    const layer = element('layer', HTMLSelectElement);
    layer.addEventListener('change', () => this.changeView({ layer: Number(layer.value) }));
    on('pins-clear', 'click', () => this.stage.setPins([]));
    on('walk-part', 'input', this.saveSoon);
    on('skip', 'click', () => element('picture', HTMLElement).focus());
    this.dial.addEventListener('turn', () => this.changeSoon({ scale: this.dial.scale }));
    this.dial.addEventListener('view', () => {
      this.changeView(this.dial.view);
      this.showDifference(this.drawing.signal).catch(this.report);
    });
    listenToHolding(
      element('hold', HTMLButtonElement), element('picture', HTMLElement), (held) => this.hold(held),
    );
    this.listenToTaking();
  }

  listenToTaking() {
    listenToTaking({
      picture: () => this.picture,
      code: () => ({
        recipe: this.recipe, className: this.className || this.state.classKey,
        base: new URL('.', this.service.base).href, needsKey: this.service.hasKey,
      }),
      drawing: () => {
        const picture = this.comparison.shown(this.state);
        const { show, smooth } = this.state;
        const mode = show === 'pair' ? 'overlay' : show;
        const [layers, markers] = [this.stage.layers(), this.stage.markers()];
        return picture && { picture, view: { mode, smooth, layers, markers } };
      },
      link: () => {
        this.save(false);
        return location.href;
      },
      say: (text) => this.say(text, true),
    });
    listenToFiles((file, image) => this.openFile(file, image));
  }

  /** @param {File} file @param {string | null} image its id */
  openFile(file, image) {
    if (image === null) {
      this.notices.error(`${file.name} does not say which picture it is.`, []);
      return;
    }
    const { classKey, seed, truncation, scale } = partsOf(image);
    Object.assign(this.state, { image, classKey, seed, truncation, scale });
    this.say(`Opened ${image}.`, true);
    void this.draw();
  }

  /** Says what went wrong and what the reader can do. */
  report = (/** @type {unknown} */ error) => {
    if (isAbort(error)) return;
    const { text, remedies } = adviceOn(error, {
      again: () => void this.draw(),
      restart: () => this.goTo(firstState()),
      today: () => this.change({ scale: 1 }),
      ofClass: (classKey) => this.change({ classKey }),
    });
    this.notices.error(text, remedies);
  };

  /**
   * Tells screen readers and, if `seen`, everybody for a moment.
   * @param {string} text @param {boolean} [seen]
   */
  say(text, seen = false) {
    element('live', HTMLElement).textContent = text;
    const toast = element('toast', HTMLElement);
    if (!seen) return;
    toast.textContent = text;
    toast.classList.remove('shown');
    requestAnimationFrame(() => toast.classList.add('shown'));
  }
}

new Studio().start();
