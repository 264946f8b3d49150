// Long-axis series beside the short axis, with the line where the present slice cuts them: it helps people
// to find the base. A click on a series goes to the slice that is cut there.

import { get, values } from "../shared/api.js";
import { h } from "../shared/dom.js";
import { oncePerFrame } from "../shared/store.js";
import { drawImage, fitted, FrameBitmap } from "./render.js";
import { Viewport } from "./viewport.js";

export class LongAxis {
  /** @param state the exam's state */
  constructor(state) {
    this.state = state;
    this.views = [];
    this.element = h("section.long-axis", { "aria-label": "Long-axis series", hidden: true });
    this.draw = oncePerFrame(() => this.views.forEach((view) => this.#paint(view)));
    state.on("place numbers", this.draw);
  }

  async load(signal) {
    // null: not loaded yet.
    if (this.state.exam.long_axis === 0) return;
    const path = `/api/exams/${this.state.id}/long_axis`;
    const { series } = await get(path, { signal });
    this.views = series.map((entry) => this.#view(entry));
    this.element.append(...this.views.map(({ figure }) => figure));
    this.element.hidden = !this.views.length;
    this.resize();
    for (const view of this.views) {
      view.frames = await values(`${path}/${view.series.index}/frames`, { signal });
      this.draw();
    }
  }

  #view(series) {
    const canvas = h("canvas", { role: "img", "aria-label": `Long axis: ${series.description ?? series.index}` });
    const caption = h("figcaption", { text: series.description ?? `Long axis ${series.index}` });
    const viewport = new Viewport();
    viewport.setImage(series.columns, series.rows, series.spacing_mm[0] / series.spacing_mm[1]);
    const window = { centre: (series.low + series.high) / 2, width: Math.max(1, series.high - series.low) };
    const view = { series, box: around(series.lines), canvas, caption, viewport, window, bitmap: new FrameBitmap(), figure: h("figure", {}, canvas, caption) };
    canvas.addEventListener("click", (event) => this.#pick(view, event));
    return view;
  }

  resize() {
    const height = this.element.clientHeight ? this.element.clientHeight - 18 : 130;
    for (const view of this.views) {
      const { columns, rows, aspect } = view.viewport.image;
      const width = Math.round((height * columns) / (rows * aspect));
      view.viewport.setSize(width, height);
      if (view.box) view.viewport.show(view.box);
      view.canvas.style.width = `${width}px`;
      view.canvas.style.height = `${height}px`;
    }
    this.draw();
  }

  #paint({ series, canvas, viewport, window, bitmap, frames }) {
    const { width, height } = viewport.size;
    const context = fitted(canvas, width, height, false);
    context.fillStyle = "#000";
    context.fillRect(0, 0, width, height);
    if (frames) {
      const size = series.rows * series.columns;
      // The beat is the same, but the number of phases may differ.
      const phase = Math.floor((this.state.phase / this.state.exam.phases) * series.phases);
      const image = frames.subarray(phase * size, (phase + 1) * size);
      drawImage(context, bitmap.fill({ values: image, rows: series.rows, columns: series.columns }, window, viewport.visible), viewport);
    }
    for (const line of series.lines) {
      const present = line.slice === this.state.slice;
      const [from, to] = [viewport.toScreen(line.from), viewport.toScreen(line.to)];
      context.beginPath();
      context.moveTo(...from);
      context.lineTo(...to);
      context.lineWidth = present ? 1.8 : 1;
      context.strokeStyle = present ? "#4aa8ff" : "rgb(255 255 255 / 0.16)";
      context.stroke();
    }
  }

  #pick({ series, viewport }, event) {
    const place = viewport.toImage([event.offsetX, event.offsetY]);
    const away = ({ from, to }) => {
      const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
      return Math.abs((place[0] - from[0]) * dy - (place[1] - from[1]) * dx) / (Math.hypot(dx, dy) || 1);
    };
    const best = [...series.lines].sort((a, b) => away(a) - away(b))[0];
    if (best) this.state.go({ slice: best.slice });
  }
}

/** A square around the middles of the lines, where the heart is; null without lines. */
function around(lines) {
  if (lines.length < 2) return null;
  const middles = lines.map(({ from, to }) => [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2]);
  const centre = [0, 1].map((axis) => middles.reduce((sum, place) => sum + place[axis], 0) / middles.length);
  const half = 15 + 1.25 * Math.max(...middles.map((place) => Math.hypot(place[0] - centre[0], place[1] - centre[1])));
  return { left: centre[0] - half, right: centre[0] + half, top: centre[1] - half, bottom: centre[1] + half };
}
