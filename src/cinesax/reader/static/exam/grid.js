// All frames at once: a row for each slice, a column for each phase. Each cell shows the heart, its contours in small,
// and a bar that says where the contours come from. The numbers of slices and phases stay in sight when it is scrolled.

import { h, fill } from "../shared/dom.js";
import { oncePerFrame } from "../shared/store.js";
import { fitted, SmallFrame } from "./render.js";

const LABELS = 26; // room for the slice numbers, CSS pixels
const TOP = 16; // room for the phase numbers
const BAR = 3;
const SMALLEST = 20;
const LARGEST = 46;
const MOST_OF_SCREEN = 0.45;

export class Grid {
  /**
   * @param state the exam's state
   * @param choose called with {phase, slice} when a person picks a frame
   */
  constructor(state, choose) {
    this.state = state;
    this.canvas = h("canvas.grid", {
      tabindex: "0", role: "application", "aria-roledescription": "grid of frames",
      "aria-label": "All frames: a row for each slice, a column for each phase. Arrow keys move.",
    });
    // What moves with a step are elements of their own: a step draws nothing here.
    this.present = h("div.present");
    this.marked = { ed: h("div.column"), es: h("div.column") };
    this.head = h("div.head", { "aria-hidden": "true" });
    this.rows = h("div.rows", { "aria-hidden": "true" });
    const body = h("div.cells", {}, this.canvas, this.marked.ed, this.marked.es, this.present);
    this.element = h("div.grid-frame", {}, h("div.corner"), this.head, this.rows, body);
    this.small = new SmallFrame();
    this.started = false;
    this.waiting = new Map(); // "phase/slice" -> [phase, slice]: cells to draw again
    this.draw = oncePerFrame(() => this.#draw());
    this.#listen(choose);
  }

  #listen(choose) {
    let dragging = false;
    const pick = (event) => {
      const { slices, phases } = this.state.exam;
      const phase = Math.floor(event.offsetX / this.cell);
      const row = Math.floor(event.offsetY / this.height);
      if (row < 0 || row >= slices || phase < 0 || phase >= phases) return;
      choose({ phase, slice: this.state.order[row] });
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      if (event.pointerType !== "touch") {
        dragging = true;
        this.canvas.setPointerCapture(event.pointerId);
      }
      pick(event);
    });
    this.canvas.addEventListener("pointermove", (event) => dragging && pick(event));
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => (dragging = false));
    this.head.addEventListener("click", ({ target }) => target.dataset.phase && choose({ phase: Number(target.dataset.phase) }));
    this.rows.addEventListener("click", ({ target }) => target.dataset.slice && choose({ slice: Number(target.dataset.slice) }));
  }

  /** Fit the cells into a width and draw everything. */
  resize(width) {
    const { slices, phases } = this.state.exam;
    const room = Math.max(200, width) - LABELS - 2;
    // Many slices with few phases would fill the screen, and the findings below must stay visible.
    const low = Math.floor((window.innerHeight * MOST_OF_SCREEN) / slices) - BAR - 2;
    this.cell = Math.max(SMALLEST, Math.min(LARGEST, low, Math.floor(room / phases)));
    this.height = this.cell + BAR + 2;
    this.size = { width: this.cell * phases + 2, height: this.height * slices + 2 };
    this.canvas.style.width = `${this.size.width}px`;
    this.canvas.style.height = `${this.size.height}px`;
    this.wide = LABELS + this.size.width > width;
    this.element.classList.toggle("wide", this.wide);
    this.#labels();
    this.marks();
    this.all();
  }

  #labels() {
    const { phases } = this.state.exam;
    const every = this.cell < 24 ? 5 : 2;
    const label = (text, data, style) => {
      const element = h("span", { text, data });
      Object.assign(element.style, style);
      return element;
    };
    const numbered = [...Array(phases).keys()].filter((phase) => phase % every === 0);
    const centred = (text, phase) => label(text, { phase: String(phase) }, { left: `${(phase + 0.5) * this.cell}px` });
    this.names = { ed: centred("ED", 0), es: centred("ES", 0) };
    for (const name of Object.values(this.names)) name.classList.add("named");
    fill(this.head, numbered.map((phase) => centred(String(phase), phase)), Object.values(this.names));
    fill(this.rows, this.state.order.map((slice, row) => label(String(slice), { slice: String(slice) }, { top: `${row * this.height}px`, lineHeight: `${this.height}px` })));
  }

  /** Begin to draw: the large frame comes first. */
  start() {
    this.started = true;
    this.draw();
  }

  /** Draw all cells again. */
  all() {
    this.everything = true;
    this.draw();
  }

  /** Draw one cell again, after its contours or pixels changed. */
  one(phase, slice) {
    this.waiting.set(`${phase}/${slice}`, [phase, slice]);
    this.draw();
  }

  /** Draw a slice again. */
  row(slice) {
    for (let phase = 0; phase < this.state.exam.phases; phase++) this.one(phase, slice);
  }

  #draw() {
    if (!this.cell || !this.started) return;
    const context = fitted(this.canvas, this.size.width, this.size.height);
    if (this.everything) {
      this.everything = false;
      this.waiting.clear();
      this.palette = palette();
      context.clearRect(0, 0, this.size.width, this.size.height);
      const { slices, phases } = this.state.exam;
      for (let slice = 0; slice < slices; slice++) for (let phase = 0; phase < phases; phase++) this.#cell(context, phase, slice);
    }
    for (const [phase, slice] of this.waiting.values()) this.#cell(context, phase, slice);
    this.waiting.clear();
  }

  /** Mark the present frame, and bring it into sight. */
  mark() {
    if (!this.cell) return;
    const { phase, slice, playing } = this.state;
    const [x, y] = [phase * this.cell, this.state.order.indexOf(slice) * this.height];
    const { style } = this.present;
    style.width = `${this.cell}px`;
    style.height = `${this.height + 1}px`;
    style.transform = `translate(${x - 1}px, ${y - 1}px)`;
    // While the beat plays, the grid stays: it would run to and fro.
    if (!playing) this.#showPlace(x, y);
  }

  #showPlace(x, y) {
    const scroller = this.element.parentElement;
    if (!scroller) return;
    const into = (now, low, size, room, border) => {
      if (low < now) return low;
      return low + size + border > now + room ? low + size + border - room : now;
    };
    if (this.wide) scroller.scrollLeft = into(scroller.scrollLeft, x - this.cell, 3 * this.cell, scroller.clientWidth, LABELS);
    if (scroller.scrollHeight > scroller.clientHeight) scroller.scrollTop = into(scroller.scrollTop, y - this.height, 3 * this.height, scroller.clientHeight, TOP);
  }

  /** Mark ED and ES. */
  marks() {
    if (!this.cell) return;
    for (const name of ["ed", "es"]) {
      const at = this.state.numbers[`${name}_phase`];
      const known = at !== null && at !== undefined;
      const column = this.marked[name];
      column.hidden = this.names[name].hidden = !known;
      if (!known) continue;
      column.style.width = `${this.cell}px`;
      column.style.transform = `translateX(${at * this.cell}px)`;
      this.names[name].style.left = `${(at + 0.5) * this.cell}px`;
      this.names[name].dataset.phase = String(at);
    }
    this.mark();
  }

  #cell(context, phase, slice) {
    const row = this.state.order.indexOf(slice);
    const [x, y, side] = [phase * this.cell, row * this.height, this.cell - 1];
    context.clearRect(x, y, this.cell, this.height);
    const box = this.state.heartBox;
    const frame = this.state.pixels.get(phase, slice);
    if (frame) this.small.draw(context, frame, this.state.window, { box, x, y, side });
    else {
      context.fillStyle = this.palette.back;
      context.fillRect(x, y, side, side);
    }
    const shown = this.state.frameAt(phase, slice);
    this.#outlines(context, shown, { x, y, side, box });
    this.#origin(context, shown, { x, y: y + side, side });
  }

  #outlines(context, shown, { x, y, side, box }) {
    const [scaleX, scaleY] = [side / (box.right - box.left), side / (box.bottom - box.top)];
    context.lineWidth = 1;
    for (const { key, color } of this.state.structures) {
      context.strokeStyle = color;
      for (const polygon of shown.contours[key] ?? []) {
        context.beginPath();
        for (let i = 0; i < polygon.length; i += 3) {
          // What lies outside of the box stays at its edge: a clip for each cell would take longer than its lines.
          const px = Math.max(0.5, Math.min(side - 0.5, (polygon[i][0] - box.left) * scaleX));
          const py = Math.max(0.5, Math.min(side - 0.5, (polygon[i][1] - box.top) * scaleY));
          context.lineTo(x + px, y + py);
        }
        context.closePath();
        context.stroke();
      }
    }
  }

  #origin(context, shown, { x, y, side }) {
    const { origin, empty } = shown;
    const approved = this.state.isApproved(shown);
    const middle = y + 1;
    if (empty && origin !== "edited") return;
    context.fillStyle = approved ? this.palette.good : this.palette[origin] ?? this.palette.network;
    if (empty) {
      // An open bar: a person decided that there is no contour here.
      context.fillRect(x, middle, 3, BAR);
      context.fillRect(x + side - 3, middle, 3, BAR);
    } else if (origin === "interpolated" && !approved) {
      for (let at = x; at < x + side; at += 5) context.fillRect(at, middle, Math.min(3, x + side - at), BAR);
    } else if (origin === "edited" || approved) {
      context.fillRect(x, middle, side, BAR);
    } else {
      context.fillRect(x, middle + 1, side, 1);
    }
  }
}

function palette() {
  const style = getComputedStyle(document.documentElement);
  const names = ["ink", "soft", "back", "panel", "good", "edited", "interpolated", "network", "given"];
  return Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}
