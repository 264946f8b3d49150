// Draws a frame and its contours on a canvas. Canvas 2D: 256 x 256 grey values take less than a millisecond.

const lines = {
  network: [],
  given: [],
  interpolated: [5, 4],
  edited: [],
};

/** One frame as grey pixels, at its own size; the same bitmap is used for all frames. */
export class FrameBitmap {
  constructor() {
    this.canvas = document.createElement("canvas");
    this.context = this.canvas.getContext("2d", { willReadFrequently: false });
  }

  /**
   * Fill with stored values through window and level.
   *
   * @param frame {values, rows, columns}: uint16 values in rows, one after the other
   * @param window {centre, width} in the same units
   */
  fill(frame, window) {
    const { values, rows, columns } = frame;
    if (this.canvas.width !== columns || this.canvas.height !== rows || !this.image) {
      this.canvas.width = columns;
      this.canvas.height = rows;
      this.image = this.context.createImageData(columns, rows);
      this.words = new Uint32Array(this.image.data.buffer);
    }
    const table = greyTable(window);
    const words = this.words;
    for (let i = 0; i < values.length; i++) words[i] = table[values[i]];
    this.context.putImageData(this.image, 0, 0);
    return this.canvas;
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

/** Make a canvas as fine as the screen; returns the context, in CSS pixels. */
export function fitted(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  const [w, h] = [Math.max(1, Math.round(width * ratio)), Math.max(1, Math.round(height * ratio))];
  if (canvas.width !== w || canvas.height !== h) {
    canvas.width = w;
    canvas.height = h;
  }
  const context = canvas.getContext("2d");
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
  polygon.forEach(([x, y], i) => {
    const [sx, sy] = [(x + 0.5) * scaleX + left, (y + 0.5) * scaleY + top];
    if (i) context.lineTo(sx, sy);
    else context.moveTo(sx, sy);
  });
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
