/** The studio page: what a change of its state does, and which part of the page shows what. */

import { firstState, partsOf, readState } from './address.js';
import { AddressBar } from './address_bar.js';
import { adviceOn } from './advice.js';
import { say, show } from './announcer.js';
import { Comparison } from './comparison.js';
import { Controls } from './controls.js';
import { Drawing, recipeOf } from './drawing.js';
import { element } from './elements.js';
import { askForKey } from './key_dialog.js';
import { showModels } from './model_choice.js';
import { Narration } from './narration.js';
import { Notices } from './notices.js';
import { readPicture } from './readings.js';
import { Recording } from './recording.js';
import { SecondPicture } from './second_picture.js';
import { ServedModels } from './served_models.js';
import { isAbort, Service } from './service.js';
import { Snapshots } from './snapshots.js';
import { Stage } from './stage.js';
import { listenToFiles, listenToTaking } from './taking.js';
import { followTheme } from './theme.js';
import { Tray } from './tray.js';
import { endOf } from './walk.js';

class Studio {
  constructor() {
    const { state } = this;
    this.service = new Service(document.baseURI, askForKey);
    this.models = new ServedModels(this.service);
    this.notices = new Notices(element('notice'), this.service);
    this.stage = new Stage(
      element('picture', HTMLCanvasElement), element('beside', HTMLCanvasElement), state,
    );
    this.tray = new Tray(
      this.service,
      ({ seed, truncation }) => this.change({ seed, truncation, scale: 1 }), // γ is as it is there
      (tray) => this.changeView({ tray }),
      () => this.address.saveSoon(),
      say,
    );
    this.address = new AddressBar(state, this.stage, this.tray, (view) => this.goTo(view));
    this.comparison = new Comparison(state, this.service, (shown) => {
      this.stage.setPicture(shown);
      this.controls.mix.draw(shown);
      this.narration.read();
    });
    this.narration = new Narration(state, this.stage, this.comparison);
    this.second = new SecondPicture(state, this.service, this.models, this.stage);
    this.drawing = new Drawing(state, this.service, this.notices, {
      picture: (picture, bitmap, signal) => this.showPicture(picture, bitmap, signal),
      passing: (bitmap) => this.showPassing(bitmap),
      maps: (maps) => this.stage.setMaps(maps),
      drawn: (signal) => {
        void this.noteSnapshot();
        this.refreshComparison(signal, true).catch(this.report);
        void this.second.draw(this.recipe, this.className, signal);
        this.fillTray();
      },
      failed: (error) => this.report(error),
    });
    this.snapshots = new Snapshots(
      this.service, this.models, this.notices,
      () => ({ picture: this.drawing.picture, recipe: this.recipe }), () => this.change({}),
    );
    this.controls = new Controls(this.service, {
      now: (changes) => this.change(changes),
      model: (name) => this.change(this.models.changesFor(name, state, this.drawing.picture)),
      soon: (changes) => this.changeSoon(changes),
      mix: (changes) => this.changeMix(changes),
      view: (changes) => this.changeView(changes),
      difference: (changes) => this.changeDifference(changes),
      end: (changes) => this.changeEnd(changes),
      hold: (held) => this.comparison.hold(held),
    });
  }

  /** What the page shows; everything on the page shares this object. */
  state = readState(location.hash);

  start() {
    followTheme(element('theme', HTMLSelectElement));
    this.listenToTaking();
    this.showView();
    void this.learn();
  }

  get recipe() {
    return recipeOf(this.state);
  }

  get className() {
    const { picture } = this.drawing;
    return picture === null ? '' : this.models.namesOf(picture.model, partsOf(picture.id));
  }

  get modelName() {
    return this.drawing.picture?.model ?? this.state.model ?? '';
  }

  /** Learns what models there are; the picture does not wait. */
  async learn() {
    try {
      await this.models.learn();
      this.state.model = this.models.after(this.drawing.picture, this.state.model);
      this.showSettings();
    } catch (error) {
      this.report(error);
    }
  }

  /** Keeps the picture, which may be the first of a newer checkpoint. */
  async noteSnapshot() {
    const { models, drawing, snapshots } = this;
    if (models.all.length && models.of(drawing.picture) === null) {
      await snapshots.look();
      this.showModels();
    }
    if (drawing.picture !== null) snapshots.keep(drawing.picture, this.recipe);
  }

  /** @param {Picture} picture @param {ImageBitmap} bitmap @param {AbortSignal} signal */
  async showPicture(picture, bitmap, signal) {
    this.comparison.setPicture(bitmap);
    this.stage.maps = null;
    const { classKey, mix, seed, truncation } = partsOf(picture.id);
    const model = this.models.after(picture, this.state.model);
    Object.assign(this.state, { image: picture.id, classKey, mix, seed, truncation, model });
    await this.refreshComparison(signal);
    readPicture(picture);
    await this.models.learnClasses(picture.model, signal);
    this.showState();
    this.address.saveSoon();
  }

  /**
   * Shows the picture, or its difference from that with γ as it is.
   * @param {AbortSignal} signal @param {boolean} [load] the latter, even if it is not shown yet
   */
  refreshComparison(signal, load = false) {
    const model = this.drawing.picture?.model ?? this.state.model;
    return this.comparison.refresh({ ...this.recipe, model }, signal, load);
  }

  /** Draws another picture. @param {Partial<State>} changes */
  change(changes) {
    Object.assign(this.state, changes, { image: null });
    this.address.save(true);
    this.showState();
    void this.drawing.draw();
  }

  /**
   * Draws another picture when the reader stops changing it. The one before is given up: its
   * arrival would set the controls back.
   * @param {Partial<State>} changes
   */
  changeSoon(changes) {
    this.drawing.later(() => this.change({}));
    Object.assign(this.state, changes, { image: null });
    this.showSettings();
  }

  /** Shows pictures of the mixes that the reader passes, and draws the one where they stop. */
  changeMix(/** @type {Partial<State>} */ changes) {
    this.changeSoon(changes);
    void this.drawing.pass(this.recipe);
  }

  /** @param {ImageBitmap} bitmap whose maps are not asked for */
  showPassing(bitmap) {
    this.stage.maps = null;
    this.comparison.setPicture(bitmap);
    this.comparison.show();
  }

  /** @param {Partial<State>} changes of how the same picture is shown */
  changeView(changes) {
    const { layer, second } = this.state;
    Object.assign(this.state, changes);
    this.stage.set(this.state);
    this.showSettings();
    this.narration.read();
    this.address.saveSoon();
    if (this.state.layer !== layer) void this.drawing.draw();
    else if (this.state.second !== second) {
      void this.second.draw(this.recipe, this.className, this.drawing.signal);
    }
  }

  /** @param {Partial<State>} changes of how its difference is shown */
  changeDifference(changes) {
    this.changeView(changes);
    this.refreshComparison(this.drawing.signal).catch(this.report);
  }

  /** @param {Partial<State>} changes of where the walk goes */
  changeEnd(changes) {
    Object.assign(this.state, changes);
    this.showEnd();
    this.address.saveSoon();
    this.fillTray();
  }

  /** @param {State} view of a link, or of a step back */
  goTo(view) {
    Object.assign(this.state, view);
    this.showView();
  }

  showView() {
    this.address.place();
    this.showState();
    this.tray.choose(this.state.tray);
    void this.drawing.draw();
  }

  showState() {
    const { state, stage } = this;
    const { picture } = this.drawing;
    if (picture !== null) this.controls.showNames(picture, this.className);
    this.showSettings();
    this.showEnd();
    stage.set(state);
  }

  showSettings() {
    this.controls.show(this.state);
    const { models, modelName, drawing } = this;
    const nameOf = (/** @type {string} */ key) => models.nameOf(modelName, key) || key;
    this.controls.mix.show(this.state, models.of(drawing.picture), nameOf);
    this.tray.walk.smooth = this.state.smooth;
    this.showModels();
  }

  showModels() {
    const { models, modelName } = this;
    const { second, layer } = this.state;
    showModels(models.all, models.of(this.drawing.picture), modelName, second, layer);
  }

  showEnd() {
    const { state, models } = this;
    const name = models.nameOf(this.modelName, state.toClass ?? state.classKey);
    this.controls.showEnd(endOf(state).seed ?? state.seed, name);
  }

  fillTray() {
    this.tray.fill(this.recipe, this.className, endOf(this.state));
  }

  listenToTaking() {
    const drawing = () => {
      const picture = this.comparison.shown;
      return picture && { picture, view: this.stage.view };
    };
    new Recording(this.stage, drawing, () => this.drawing.picture?.id ?? 'picture');
    listenToTaking({
      picture: () => this.drawing.picture,
      code: () => ({
        recipe: this.recipe, className: this.className || this.state.classKey,
        base: new URL('.', this.service.base).href, needsKey: this.service.hasKey,
      }),
      drawing,
      link: () => {
        this.address.save(false);
        return location.href;
      },
      say: show,
    });
    listenToFiles((file, image) => this.openFile(file, image));
  }

  /** @param {File} file @param {string | null} image its id */
  openFile(file, image) {
    if (image === null) {
      this.notices.error(`${file.name} does not say which picture it is.`, []);
      return;
    }
    const { classKey, mix, seed, truncation, scale } = partsOf(image);
    Object.assign(this.state, { image, classKey, mix, seed, truncation, scale });
    show(`Opened ${image}.`);
    void this.drawing.draw();
  }

  report = (/** @type {unknown} */ error) => {
    if (isAbort(error)) return;
    const { text, remedies } = adviceOn(error, {
      again: () => void this.drawing.draw(),
      restart: () => this.goTo(firstState()),
      today: () => this.change({ scale: 1 }),
      ofClass: (classKey) => this.change({ classKey, mix: null }),
    });
    this.notices.error(text, remedies);
  };
}

new Studio().start();
