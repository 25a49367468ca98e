/**
 * Draws a picture and attention on a canvas. It knows neither the service nor the page, so that
 * other documents (a notebook, a static page) can use it with their own data.
 */

import { contours } from './contours.js';
import { SCALE } from './colour_scale.js';

/**
 * @import { Field } from './attention_maps.js'
 * @typedef {'picture' | 'overlay' | 'heatmap' | 'contour'} Mode
 *
 * A point of the picture, as parts of its sides, and where it looks most.
 * @typedef {{x: number, y: number, colour: string, label: string,
 *   target: {x: number, y: number} | null}} Marker
 *
 * A field, and the colour of its marker where several fields are shown at once.
 * @typedef {{field: Field, colour: string | null}} Layer
 *
 * @typedef {{mode: Mode, smooth: boolean, layers: Layer[], markers: Marker[]}} View
 * @typedef {{picture: CanvasImageSource, view: View}} Drawn
 */

const SHADE = 0.62; // how dark the overlay makes what nobody looks at
const LIGHT_SHADE = 0.4; // where colours show it too
const TINT = 0.75; // how much of a marker's colour lies over what it looks at
const LEVELS = [0.25, 0.5, 0.75]; // of the contour lines
const MAX_SIDE_PX = 1600;

export class AttentionCanvas {
  /** @param {HTMLCanvasElement | OffscreenCanvas} canvas its content is a square */
  constructor(canvas) {
    this.canvas = canvas;
    const context = /** @type {CanvasRenderingContext2D | null} */ (canvas.getContext('2d'));
    if (context === null) throw new Error('the browser has no canvas');
    this.context = context;
    /** @type {CanvasImageSource | null} */
    this.picture = null;
    this.enlarged = new OffscreenCanvas(1, 1);
    /** @type {{picture: CanvasImageSource | null, smooth: boolean, side: number}} */
    this.drawn = { picture: null, smooth: false, side: 0 };
    this.grid = new Grid();
  }

  /**
   * Gives the canvas as many pixels as the screen has for it, whenever that changes.
   * @param {HTMLCanvasElement} canvas @param {() => void} redraw
   */
  fit(canvas, redraw) {
    new ResizeObserver(() => {
      const side = Math.min(MAX_SIDE_PX, Math.round(canvas.clientWidth * devicePixelRatio));
      if (side > 0 && canvas.width !== side) canvas.width = canvas.height = side;
      redraw();
    }).observe(canvas);
  }

  /** @param {View} view */
  draw(view) {
    const { context, canvas } = this;
    const side = canvas.width;
    context.clearRect(0, 0, side, side);
    if (this.picture === null) return;
    if (view.mode === 'heatmap' && view.layers.length) {
      this.drawGrid(this.grid.heat(view.layers), view.smooth);
    } else {
      this.drawPicture(view.smooth);
      if (view.mode === 'overlay' && view.layers.length) this.drawOverlay(view.layers);
      if (view.mode === 'contour') view.layers.forEach((layer) => this.drawContours(layer));
    }
    view.markers.forEach((marker) => this.drawMarker(marker));
  }

  /** @param {boolean} smooth */
  drawPicture(smooth) {
    this.enlarge(smooth);
    this.context.drawImage(this.enlarged, 0, 0);
  }

  /**
   * Enlarges the picture, if that has not been done: a good enlargement takes longer than a frame.
   * @param {boolean} smooth
   */
  enlarge(smooth) {
    const side = this.canvas.width;
    const { enlarged, picture, drawn } = this;
    if (picture === null) return;
    if (drawn.picture === picture && drawn.smooth === smooth && drawn.side === side) return;
    this.drawn = { picture, smooth, side };
    enlarged.width = enlarged.height = side;
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (enlarged.getContext('2d'));
    context.imageSmoothingEnabled = smooth;
    context.imageSmoothingQuality = 'high';
    context.drawImage(picture, 0, 0, side, side);
  }

  /**
   * Darkens what nobody looks at; with several layers each colours what it looks at.
   * @param {Layer[]} layers
   */
  drawOverlay(layers) {
    this.drawGrid(this.grid.shade(layers), true);
    for (const { field, colour } of layers) {
      if (colour !== null) this.drawGrid(this.grid.tint(field, colour), true);
    }
  }

  /** @param {CanvasImageSource} grid @param {boolean} smooth */
  drawGrid(grid, smooth) {
    const { context, canvas } = this;
    context.imageSmoothingEnabled = smooth;
    context.imageSmoothingQuality = 'low'; // bilinear: fast, and enough for a coarse grid
    context.drawImage(grid, 0, 0, canvas.width, canvas.height);
  }

  /** @param {Layer} layer */
  drawContours({ field, colour }) {
    const { context, canvas } = this;
    const side = canvas.width;
    LEVELS.forEach((level, i) => {
      context.beginPath();
      for (const [ax, ay, bx, by] of contours(field, level)) {
        context.moveTo(ax * side, ay * side);
        context.lineTo(bx * side, by * side);
      }
      const width = Math.max(1.5, side / 400) * (1 + 0.5 * i);
      this.stroke(colour ?? '#ffffff', width);
    });
  }

  /** A ring at the point, its label, and an arrow to where it looks most. @param {Marker} marker */
  drawMarker(marker) {
    const { context, canvas } = this;
    const side = canvas.width;
    const radius = Math.max(6, side / 64);
    const [x, y] = [marker.x * side, marker.y * side];
    if (marker.target !== null) {
      this.drawArrow(x, y, marker.target.x * side, marker.target.y * side, marker.colour, radius);
    }
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    this.stroke(marker.colour, radius / 3);
    if (marker.label === '') return;
    context.fillStyle = marker.colour;
    context.fill();
    context.fillStyle = '#000000';
    context.font = `700 ${1.35 * radius}px system-ui, sans-serif`;
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    context.fillText(marker.label, x, y + radius * 0.08);
  }

  /**
   * @param {number} x @param {number} y @param {number} toX @param {number} toY
   * @param {string} colour @param {number} radius of the ring that it starts at
   */
  drawArrow(x, y, toX, toY, colour, radius) {
    const { context } = this;
    const length = Math.hypot(toX - x, toY - y);
    if (length < 1.5 * radius) return;
    const [dx, dy] = [(toX - x) / length, (toY - y) / length];
    const head = 1.2 * radius;
    context.beginPath();
    context.moveTo(x + dx * radius, y + dy * radius);
    context.lineTo(toX, toY);
    context.moveTo(toX - head * (dx + 0.5 * dy), toY - head * (dy - 0.5 * dx));
    context.lineTo(toX, toY);
    context.lineTo(toX - head * (dx - 0.5 * dy), toY - head * (dy + 0.5 * dx));
    this.stroke(colour, radius / 3);
  }

  /**
   * Strokes the path with a dark edge, so that it shows on any picture.
   * @param {string} colour @param {number} width
   */
  stroke(colour, width) {
    const { context } = this;
    context.lineJoin = 'round';
    context.lineCap = 'round';
    context.strokeStyle = 'rgb(0 0 0 / 70%)';
    context.lineWidth = 2.2 * width;
    context.stroke();
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.stroke();
  }
}

/**
 * What is drawn on a canvas of this many pixels, as a file.
 * @param {Drawn} drawn @param {number} sidePx @param {ImageEncodeOptions} options
 * @returns {Promise<Blob>}
 */
export function fileOf({ picture, view }, sidePx, options) {
  const canvas = new OffscreenCanvas(sidePx, sidePx);
  const drawing = new AttentionCanvas(canvas);
  drawing.picture = picture;
  drawing.draw(view);
  return canvas.convertToBlob(options);
}

/** A small canvas with a pixel for each cell of a field, to be drawn enlarged. */
class Grid {
  constructor() {
    this.canvas = new OffscreenCanvas(1, 1);
    this.pixels = new ImageData(1, 1);
  }

  /** @param {Layer[]} layers @returns {CanvasImageSource} black, opaque where no layer looks */
  shade(layers) {
    const dark = 255 * (layers.some(({ colour }) => colour !== null) ? LIGHT_SHADE : SHADE);
    return this.paint(brightest(layers), (bytes, at, value) => {
      bytes[at] = bytes[at + 1] = bytes[at + 2] = 0;
      bytes[at + 3] = dark * (1 - Math.sqrt(value)); // weak attention shows too
    });
  }

  /** @param {Field} field @param {string} colour `#rrggbb` @returns {CanvasImageSource} */
  tint(field, colour) {
    const number = parseInt(colour.slice(1), 16);
    const [red, green, blue] = [number >> 16, (number >> 8) & 255, number & 255];
    return this.paint(field, (bytes, at, value) => {
      bytes[at] = red;
      bytes[at + 1] = green;
      bytes[at + 2] = blue;
      bytes[at + 3] = 255 * TINT * value * value; // only what it looks at most
    });
  }

  /** @param {Layer[]} layers @returns {CanvasImageSource} */
  heat(layers) {
    return this.paint(brightest(layers), (bytes, at, value) => {
      const shade = 3 * Math.min(255, Math.round(255 * value));
      bytes[at] = SCALE[shade];
      bytes[at + 1] = SCALE[shade + 1];
      bytes[at + 2] = SCALE[shade + 2];
      bytes[at + 3] = 255;
    });
  }

  /**
   * @param {Field} field
   * @param {(bytes: Uint8ClampedArray, at: number, value: number) => void} colour
   * @returns {CanvasImageSource}
   */
  paint(field, colour) {
    const { rows, columns, values } = field;
    if (this.pixels.width !== columns || this.pixels.height !== rows) {
      this.pixels = new ImageData(columns, rows);
      this.canvas.width = columns;
      this.canvas.height = rows;
    }
    const bytes = this.pixels.data;
    for (let i = 0; i < values.length; i += 1) colour(bytes, 4 * i, values[i]);
    const context = /** @type {OffscreenCanvasRenderingContext2D} */ (this.canvas.getContext('2d'));
    context.putImageData(this.pixels, 0, 0);
    return this.canvas;
  }
}

/** The largest value of all layers in each cell; they have one grid. @param {Layer[]} layers */
function brightest(layers) {
  const [first, ...others] = layers.map((layer) => layer.field);
  if (!others.length) return first;
  const values = Float32Array.from(first.values);
  for (const other of others) {
    for (let i = 0; i < values.length; i += 1) values[i] = Math.max(values[i], other.values[i]);
  }
  return { ...first, values };
}
