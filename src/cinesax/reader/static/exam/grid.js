// All frames at once: a row for each slice, a column for each phase. Each cell shows the heart, its contours in small,
// and a bar that says where the contours come from.

import { fitted, FrameBitmap } from "./render.js";

const LABELS = 26; // room for the slice numbers, CSS pixels
const TOP = 16; // room for the phase numbers
const BAR = 3;
const SMALLEST = 20;
const LARGEST = 46;
const MOST_OF_SCREEN = 0.55;

export class Grid {
  /**
   * @param state the exam's state
   * @param choose called with {phase, slice} when a person picks a frame
   */
  constructor(state, choose) {
    this.state = state;
    this.canvas = document.createElement("canvas");
    this.canvas.className = "grid";
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-roledescription", "grid of frames");
    this.canvas.setAttribute("aria-label", "All frames: a row for each slice, a column for each phase. Arrow keys move.");
    this.cells = document.createElement("canvas"); // everything but ED and ES
    this.bitmap = new FrameBitmap();
    // The present frame is marked by an element of its own: a step draws nothing here.
    this.present = document.createElement("div");
    this.present.className = "present";
    this.element = document.createElement("div");
    this.element.className = "grid-frame";
    this.element.append(this.canvas, this.present);
    this.dragging = false;
    this.canvas.addEventListener("pointerdown", (event) => this.#pick(event, choose));
    this.canvas.addEventListener("pointermove", (event) => this.dragging && this.#pick(event, choose));
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, () => (this.dragging = false));
  }

  #pick(event, choose) {
    const { slices, phases } = this.state.exam;
    const phase = Math.floor((event.offsetX - LABELS) / this.cell);
    const slice = Math.floor((event.offsetY - TOP) / this.height);
    if (event.type === "pointerdown" && event.pointerType !== "touch") {
      this.dragging = true;
      this.canvas.setPointerCapture(event.pointerId);
    }
    if (slice < 0 || slice >= slices || phase >= phases || event.offsetX < 0) return;
    choose({ phase: Math.max(0, phase), slice: this.state.order[slice] });
  }

  /** Fit the cells into a width and draw everything. */
  resize(width) {
    const { slices, phases } = this.state.exam;
    const room = Math.max(200, width) - LABELS - 2;
    // Many slices with few phases would fill the screen, and the findings below must stay visible.
    const low = Math.floor((window.innerHeight * MOST_OF_SCREEN) / slices) - BAR - 2;
    this.cell = Math.max(SMALLEST, Math.min(LARGEST, low, Math.floor(room / phases)));
    this.height = this.cell + BAR + 2;
    this.size = { width: LABELS + this.cell * phases + 2, height: TOP + this.height * slices + 2 };
    this.canvas.style.width = `${this.size.width}px`;
    this.canvas.style.height = `${this.size.height}px`;
    fitted(this.canvas, this.size.width, this.size.height);
    this.element.classList.toggle("wide", this.size.width > width);
    this.all();
  }

  /** Draw all cells again. */
  all() {
    if (!this.cell) return;
    const context = fitted(this.cells, this.size.width, this.size.height);
    this.palette = palette();
    context.clearRect(0, 0, this.size.width, this.size.height);
    this.#numbers(context);
    const { slices, phases } = this.state.exam;
    for (let slice = 0; slice < slices; slice++) for (let phase = 0; phase < phases; phase++) this.#cell(context, phase, slice);
    this.marks();
  }

  /** Draw one cell again, after its contours or pixels changed. */
  one(phase, slice) {
    if (!this.cell) return;
    this.#cell(this.#cellContext(), phase, slice);
    this.marks();
  }

  /** Draw a slice again. */
  row(slice) {
    if (!this.cell) return;
    const context = this.#cellContext();
    for (let phase = 0; phase < this.state.exam.phases; phase++) this.#cell(context, phase, slice);
    this.marks();
  }

  #cellContext() {
    return fitted(this.cells, this.size.width, this.size.height);
  }

  /** Mark the present frame. */
  mark() {
    if (!this.cell) return;
    const row = this.state.order.indexOf(this.state.slice);
    const { style } = this.present;
    style.width = `${this.cell}px`;
    style.height = `${this.height + 1}px`;
    style.transform = `translate(${LABELS + this.state.phase * this.cell - 1}px, ${TOP + row * this.height - 1}px)`;
  }

  /** Put the cells on the screen, with ED and ES marked. */
  marks() {
    if (!this.cell) return;
    const context = fitted(this.canvas, this.size.width, this.size.height);
    const { numbers } = this.state;
    const { width, height } = this.size;
    context.clearRect(0, 0, width, height);
    context.drawImage(this.cells, 0, 0, width, height);
    context.lineWidth = 1;
    context.font = "600 10px system-ui, sans-serif";
    context.textAlign = "center";
    for (const [name, at] of [["ED", numbers?.ed_phase], ["ES", numbers?.es_phase]]) {
      if (at === null || at === undefined) continue;
      const x = LABELS + at * this.cell;
      context.strokeStyle = this.palette.soft;
      context.strokeRect(x + 0.5, TOP - 0.5, this.cell - 1, height - TOP - 1);
      context.fillStyle = this.palette.panel;
      context.fillRect(x - 2, 0, this.cell + 4, TOP - 2);
      context.fillStyle = this.palette.ink;
      context.fillText(name, x + this.cell / 2, 11);
    }
    this.mark();
  }

  #numbers(context) {
    const { slices, phases } = this.state.exam;
    context.font = "10px system-ui, sans-serif";
    context.fillStyle = this.palette.soft;
    context.textAlign = "center";
    const every = this.cell < 24 ? 5 : 2;
    for (let phase = 0; phase < phases; phase++) {
      if (phase % every === 0) context.fillText(String(phase), LABELS + (phase + 0.5) * this.cell, 11);
    }
    context.textAlign = "right";
    for (let row = 0; row < slices; row++) {
      context.fillText(String(this.state.order[row]), LABELS - 6, TOP + (row + 0.5) * this.height + 3);
    }
  }

  #cell(context, phase, slice) {
    const row = this.state.order.indexOf(slice);
    const [x, y, side] = [LABELS + phase * this.cell, TOP + row * this.height, this.cell - 1];
    context.clearRect(x, y, this.cell, this.height);
    const box = this.state.heartBox;
    const frame = this.state.pixels.get(phase, slice);
    if (frame) {
      const bitmap = this.bitmap.fill(frame, this.state.window);
      context.imageSmoothingEnabled = true;
      context.imageSmoothingQuality = "medium";
      context.drawImage(bitmap, box.left + 0.5, box.top + 0.5, box.right - box.left, box.bottom - box.top, x, y, side, side);
    } else {
      context.fillStyle = this.palette.back;
      context.fillRect(x, y, side, side);
    }
    const shown = this.state.frameAt(phase, slice);
    this.#outlines(context, shown, { x, y, side, box });
    this.#origin(context, shown, { x, y: y + side, side });
  }

  #outlines(context, shown, { x, y, side, box }) {
    const [scaleX, scaleY] = [side / (box.right - box.left), side / (box.bottom - box.top)];
    context.save();
    context.beginPath();
    context.rect(x, y, side, side);
    context.clip();
    context.lineWidth = 1;
    for (const { key, color } of this.state.structures) {
      context.strokeStyle = color;
      for (const polygon of shown.contours[key] ?? []) {
        context.beginPath();
        for (let i = 0; i < polygon.length; i += 3) {
          const [px, py] = [x + (polygon[i][0] - box.left) * scaleX, y + (polygon[i][1] - box.top) * scaleY];
          if (i) context.lineTo(px, py);
          else context.moveTo(px, py);
        }
        context.closePath();
        context.stroke();
      }
    }
    context.restore();
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
