// Draws a frame and its contours on a canvas. Canvas 2D: 256 x 256 grey values take less than a millisecond.

const lines = {
  network: [],
  given: [],
  interpolated: [5, 4],
  edited: [],
};

/** A canvas that is never on the page; the browser prepares those that are for the screen after every change. */
function surface(width, height) {
  if (typeof OffscreenCanvas !== "undefined") return new OffscreenCanvas(width, height);
  return Object.assign(document.createElement("canvas"), { width, height });
}

/** One frame as grey pixels, at its own size; the same bitmap is used for all frames. */
export class FrameBitmap {
  constructor() {
    this.canvas = surface(1, 1);
    this.context = this.canvas.getContext("2d");
  }

  /**
   * Fill with stored values through window and level.
   *
   * @param frame {values, rows, columns}: uint16 values in rows, one after the other
   * @param window {centre, width} in the same units
   * @param box {left, top, right, bottom}: the part that will be looked at, in image coordinates; the rest stays as it was
   */
  fill(frame, window, box = null) {
    const { values, rows, columns } = frame;
    if (this.canvas.width !== columns || this.canvas.height !== rows || !this.image) {
      this.canvas.width = columns;
      this.canvas.height = rows;
      this.image = this.context.createImageData(columns, rows);
      this.words = new Uint32Array(this.image.data.buffer);
    }
    const table = greyTable(window);
    const words = this.words;
    // Two pixels more on each side: smoothing looks at neighbours.
    const left = box ? Math.max(0, Math.floor(box.left) - 2) : 0;
    const right = box ? Math.min(columns, Math.ceil(box.right) + 3) : columns;
    const top = box ? Math.max(0, Math.floor(box.top) - 2) : 0;
    const bottom = box ? Math.min(rows, Math.ceil(box.bottom) + 3) : rows;
    // Also false for NaN: a page that is being left, or not yet laid out, has no size.
    if (!(right > left && bottom > top)) return this.canvas;
    for (let row = top; row < bottom; row++) {
      for (let i = row * columns + left, end = row * columns + right; i < end; i++) words[i] = table[values[i]];
    }
    this.context.putImageData(this.image, 0, 0, left, top, right - left, bottom - top);
    return this.canvas;
  }
}

/** Part of a frame, made smaller: each pixel is the mean of those that it stands for. */
export class SmallFrame {
  constructor() {
    this.bitmap = new FrameBitmap();
  }

  /**
   * @param context in CSS pixels
   * @param frame {values, rows, columns}
   * @param window {centre, width}
   * @param place {box, x, y, side}: the part of the image, and the square on the canvas
   */
  draw(context, frame, window, { box, x, y, side }) {
    const scale = context.getTransform().a;
    const [left, top] = [Math.round(x * scale), Math.round(y * scale)];
    const size = Math.round((x + side) * scale) - left;
    const [width, height] = [box.right - box.left, box.bottom - box.top];
    if (Math.min(width, height) < 1.5 * size || box.left < -0.5 || box.top < -0.5 || box.right > frame.columns - 0.5 || box.bottom > frame.rows - 0.5) {
      context.imageSmoothingEnabled = true;
      context.imageSmoothingQuality = "medium";
      context.drawImage(this.bitmap.fill(frame, window, box), box.left + 0.5, box.top + 0.5, width, height, x, y, side, side);
      return;
    }
    if (this.image?.width !== size) {
      this.image = new ImageData(size, size);
      this.words = new Uint32Array(this.image.data.buffer);
      this.sums = new Float64Array(size * size);
      this.counts = new Uint16Array(size * size);
    }
    this.#mean(frame, box, size);
    const table = greyTable(window);
    for (let i = 0; i < this.words.length; i++) this.words[i] = table[(this.sums[i] / this.counts[i]) | 0];
    context.putImageData(this.image, left, top);
  }

  #mean({ values, columns }, box, size) {
    const { sums, counts } = this;
    sums.fill(0);
    counts.fill(0);
    const across = size / (box.right - box.left);
    const down = size / (box.bottom - box.top);
    const [first, last] = [Math.ceil(box.left), Math.ceil(box.right)];
    for (let y = Math.ceil(box.top); y < box.bottom; y++) {
      const to = size * Math.floor((y - box.top) * down);
      for (let x = first, from = y * columns + first; x < last; x++, from++) {
        const at = to + Math.floor((x - box.left) * across);
        sums[at] += values[from];
        counts[at]++;
      }
    }
  }
}

const MOST_BYTES = 96e6;

/**
 * Frames as they lie on the screen. To scale a frame takes most of the time of a step; a beat that is played again is
 * only copied. Nothing is kept while zoom or window change with every frame, nor where a beat would need too much memory.
 */
export class ScaledFrames {
  #view = "";
  #kept = new Map();
  #spare = [];

  /**
   * @param context where to draw, with a transform of one unit for one pixel of the screen
   * @param place {name, view, width, height, count}: name of the frame, all that its looks depend on besides, size in
   *   pixels of the screen, number of frames that are played one after the other
   * @param draw called with a context to draw the frame there
   */
  draw(context, { name, view, width, height, count }, draw) {
    const settled = view === this.#view;
    if (!settled) this.#forget(view);
    const kept = this.#kept.get(name);
    if (kept) {
      context.drawImage(kept, 0, 0);
      return;
    }
    const most = Math.floor(MOST_BYTES / (4 * width * height));
    if (!settled || most < count) {
      draw(context);
      return;
    }
    const canvas = this.#free(width, height, most);
    draw(canvas.getContext("2d", { alpha: false }));
    this.#kept.set(name, canvas);
    context.drawImage(canvas, 0, 0);
  }

  #free(width, height, most) {
    if (this.#kept.size >= most) {
      const [oldest, canvas] = this.#kept.entries().next().value;
      this.#kept.delete(oldest);
      this.#spare.push(canvas);
    }
    const canvas = this.#spare.pop();
    if (canvas?.width === width && canvas.height === height) return canvas;
    this.#spare = [];
    return surface(width, height);
  }

  #forget(view) {
    this.#view = view;
    this.#spare.push(...this.#kept.values());
    this.#kept.clear();
  }
}

const tables = new Map();

/** (65536,): the grey of each value as a pixel, opaque. The last few are kept: short and long axis have their own. */
function greyTable({ centre, width }) {
  const name = `${centre} ${width}`;
  if (tables.has(name)) return tables.get(name);
  const table = new Uint32Array(65536);
  const bottom = centre - width / 2;
  const slope = 255 / Math.max(1, width);
  for (let value = 0; value < table.length; value++) {
    const grey = Math.max(0, Math.min(255, Math.round((value - bottom) * slope)));
    table[value] = 0xff000000 | (grey << 16) | (grey << 8) | grey;
  }
  if (tables.size > 7) tables.delete(tables.keys().next().value);
  tables.set(name, table);
  return table;
}

/**
 * Make a canvas as fine as the screen; returns the context, in CSS pixels.
 *
 * @param alpha false for a canvas that hides all below it: the browser then does not look below it
 */
export function fitted(canvas, width, height, alpha = true) {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const context = canvas.getContext("2d", { alpha });
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

/** The image through a viewport; `fine` is smoother, and takes several times as long. */
export function drawImage(context, bitmap, viewport, fine = false) {
  const { scaleX, scaleY, left, top } = viewport.transform;
  context.fillStyle = "#000";
  context.fillRect(0, 0, viewport.size.width, viewport.size.height);
  context.imageSmoothingEnabled = true;
  context.imageSmoothingQuality = fine ? "high" : "low";
  context.drawImage(bitmap, left, top, bitmap.width * scaleX, bitmap.height * scaleY);
}

/**
 * A closed contour through a viewport.
 *
 * @param style {colour, origin, width, faint}
 */
export function drawContour(context, polygon, viewport, style) {
  if (polygon.length < 2) return;
  const { scaleX, scaleY, left, top } = viewport.transform;
  context.beginPath();
  for (let i = 0; i < polygon.length; i++) {
    const point = polygon[i];
    context.lineTo((point[0] + 0.5) * scaleX + left, (point[1] + 0.5) * scaleY + top);
  }
  if (!style.open) context.closePath();
  context.globalAlpha = style.faint ? 0.55 : 1;
  context.setLineDash(style.faint ? [2, 3] : (lines[style.origin] ?? []));
  context.lineJoin = "round";
  // A dark edge below: a bright line on bright blood cannot be seen.
  context.lineWidth = style.width + 1.6;
  context.strokeStyle = "rgb(0 0 0 / 0.45)";
  context.stroke();
  context.lineWidth = style.width;
  context.strokeStyle = style.colour;
  context.stroke();
  context.setLineDash([]);
  context.globalAlpha = 1;
}

/** Round handles of a spline. */
export function drawHandles(context, points, viewport, { colour, active }) {
  points.forEach((point, i) => {
    const [x, y] = viewport.toScreen(point);
    context.beginPath();
    context.arc(x, y, i === active ? 7 : 5, 0, 2 * Math.PI);
    context.fillStyle = i === active ? "#fff" : colour;
    context.fill();
    context.lineWidth = 1.5;
    context.strokeStyle = "rgb(0 0 0 / 0.8)";
    context.stroke();
  });
}

/** The nudge circle. */
export function drawCircle(context, centre, radius, viewport, { colour, active }) {
  const [x, y] = viewport.toScreen(centre);
  context.beginPath();
  context.ellipse(x, y, radius * viewport.transform.scaleX, radius * viewport.transform.scaleY, 0, 0, 2 * Math.PI);
  context.lineWidth = active ? 2 : 1.5;
  context.strokeStyle = "rgb(0 0 0 / 0.5)";
  context.stroke();
  context.lineWidth = active ? 1.6 : 1;
  context.strokeStyle = colour;
  context.stroke();
}
