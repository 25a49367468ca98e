/** The types of the page's modules, for `tsc`: browsers never load this file. */

// What is seen.

type Show = 'overlay' | 'heatmap' | 'pair' | 'contour' | 'picture';
type TrayName = 'seeds' | 'truncation' | 'walk' | 'mix';
/** What a walk changes. */
type Moves = 'both' | 'class' | 'latent';
/** A pixel of the picture: column and row. */
type Point = [number, number];

/** The view: what a link keeps. */
type State = {
  /** Names the picture for ever; class and seed stand for it until it has been drawn. */
  image: string | null;
  /** The class, or that of a mix with the largest weight. */
  classKey: string;
  /** `5:0.5,8:0.3,1:0.2`; null: one class. */
  mix: string | null;
  /** The classes that the reader can mix. */
  corners: string[];
  seed: number;
  truncation: number | null;
  /** The factor of γ. */
  scale: number;
  model: string | null;
  /** A model whose picture is beside it. */
  second: string | null;
  show: Show;
  /** -1 is the last. */
  layer: number;
  shared: boolean;
  turned: boolean;
  smooth: boolean;
  difference: boolean;
  gain: number;
  at: Point | null;
  /** The place of a pin is its place in the palette; null is a place that is free. */
  pins: (Point | null)[];
  tray: TrayName;
  /** How many seeds the wall has. */
  seeds: number;
  toClass: string | null;
  toSeed: number | null;
  moves: Moves;
  /** The frame of the walk. */
  frame: number;
};

type Change = (changes: Partial<State>) => void;

type Changes = {
  /** Draws another picture at once. */
  now: Change;
  /** Draws another mix, also while it changes. */
  mix: Change;
  /** Draws with another model. */
  model: (name: string) => void;
  /** Draws when the reader has stopped. */
  soon: Change;
  /** Shows the same picture in another way. */
  view: Change;
  /** Shows its difference in another way. */
  difference: Change;
  /** Changes where the walk goes. */
  end: Change;
  /** Shows the picture with γ as it is for a while. */
  hold: (held: boolean) => void;
};

/** Where a walk goes; null: as at the start. */
type End = { classKey: string | null; seed: number | null };
/** `slot` is the place in the palette, which a pin keeps when others go. */
type Pin = { x: number; y: number; slot: number };
type Settings = Pick<State, 'show' | 'shared' | 'turned' | 'smooth'>;
/** A point as parts of the picture's sides; its colour is null for the one that is pointed at. */
type Spot = { x: number; y: number; colour: string | null; label: string };

/** The point and the pins. */
type Spots = { at: Spot | null; pins: Spot[] };

/** What the caption tells. */
type Seen = Pick<State, 'show' | 'turned' | 'scale' | 'difference' | 'gain'> & {
  /** The pins whose maps are shown at once; 0 if it is the map of one point. */
  numPins: number;
  /** Whether the reader holds the picture with γ as it is. */
  held: boolean;
};

// What the service draws and says.

/** What determines a picture; null where it is not set. */
type Recipe = {
  classKey: string;
  mix: string | null;
  seed: number;
  truncation: number | null;
  attentionScale: number | null;
  model: string | null;
};
type Picture = { id: string; model: string; seed: number; blob: Blob; timing: string };
type ClassEntry = { index: number; name: string; wnid: string | null; aliases: string[] };
type AttentionLayer = { index: number; height: number; width: number; gamma: number | null };
type Model = {
  name: string;
  fingerprint: string;
  resolution: number;
  num_classes: number;
  attention_layers: AttentionLayer[];
  renderer: string;
  workers_ready: number;
  facts: Record<string, string | number | boolean>;
};

/** How a request is sent. */
type Manner = {
  signal?: AbortSignal;
  /** Interactive requests go first. */
  bulk?: boolean;
  /** A failure is not waited for, and no one is told. */
  quiet?: boolean;
};

/** What is done with what arrives, in this order. */
type Receiver = {
  picture: (picture: Picture, bitmap: ImageBitmap, signal: AbortSignal) => Promise<void>;
  /** A picture on the way to another one. */
  passing: (bitmap: ImageBitmap) => void;
  /** Null where a picture has no attention. */
  maps: (maps: AttentionMaps | null) => void;
  drawn: (signal: AbortSignal) => void;
  failed: (error: unknown) => void;
};

// What the reader can do.

type Remedy = { label: string; act: () => void };

type Ways = {
  again: () => void;
  restart: () => void;
  /** Draws with the checkpoint that is served now. */
  today: () => void;
  ofClass: (name: string) => void;
};

/** A small picture that can be chosen. */
type Item = { recipe: Recipe; label: string; caption: string };

type PinItem = {
  name: string;
  colour: string;
  label: string;
  selected: boolean;
  select: () => void;
  remove: () => void;
};

/** What code asks for the picture; `base` is the service's address, with a slash at its end. */
type Asked = { recipe: Recipe; className: string; base: string; needsKey: boolean };

/** What there is to take along, and where to say that it was taken. */
type Source = {
  picture: () => Picture | null;
  code: () => Asked;
  link: () => string;
  say: (text: string) => void;
  drawing: () => Drawn | null;
};

/** What the recorded pointer has seen, and since when, in ms. */
type Sight = { file: Promise<Blob>; ms: number };

type Timer = ReturnType<typeof setTimeout> | undefined;

// Types and classes of modules, so that no module has to import them in comments.

type AttentionMaps = import('./attention_maps.js').AttentionMaps;
type Numbers = import('./attention_maps.js').Numbers;
type Drawn = import('./attention_canvas.js').Drawn;
type Layer = import('./attention_canvas.js').Layer;
type Marker = import('./attention_canvas.js').Marker;
type View = import('./attention_canvas.js').View;
type Comparison = import('./comparison.js').Comparison;
type Notices = import('./notices.js').Notices;
type Problem = import('./service.js').Problem;
type ServedModels = import('./served_models.js').ServedModels;
type Service = import('./service.js').Service;
type Stage = import('./stage.js').Stage;
type Tray = import('./tray.js').Tray;
