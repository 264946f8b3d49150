// The large frame: its drawing, and the pointer events for each tool. Mouse, trackpad, pen and touch come
// as pointer events; two fingers always zoom and pan, the right button always changes window and level.

import { oncePerFrame } from "../shared/store.js";
import { drawContour, drawImage, fitted, FrameBitmap, ScaledFrames } from "./render.js";
import { Viewport } from "./viewport.js";

const REFINE_MS = 120;
const WHEEL_STEP = 40; // pixels of scrolling for one slice: a trackpad sends many small ones

export class Stage {
  /**
   * @param state the exam's state
   * @param canvas where to draw
   */
  constructor(state, canvas) {
    this.state = state;
    this.canvas = canvas;
    this.viewport = new Viewport();
    this.viewport.setImage(state.exam.columns, state.exam.rows, state.aspect);
    this.bitmap = new FrameBitmap();
    this.scaled = new ScaledFrames();
    this.tool = null;
    this.pointers = new Map();
    this.grip = null; // what the pressed pointer does: "tool", "window", "pan", "pinch"
    this.wheel = 0;
    this.draw = oncePerFrame(() => {
      this.paint();
      this.#refineSoon();
    });
    this.drawTimes = [];
    this.#listen();
    state.on("place contours tool view pixels draft playing", this.draw);
  }

  use(tool) {
    this.tool?.leave?.();
    this.tool = tool;
    this.canvas.style.cursor = tool.cursor;
    tool.enter?.();
    this.draw();
  }

  resize(width, height) {
    this.viewport.setSize(width, height);
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    this.paint(true);
  }

  /** @param fine whether to take the time for a smoother image; a step of a playing cine has none to lose */
  paint(fine = false) {
    const began = performance.now();
    const { state, viewport } = this;
    const context = fitted(this.canvas, viewport.size.width, viewport.size.height, false);
    const frame = state.pixels?.get(state.phase, state.slice);
    if (frame) this.#image(context, frame, fine);
    else {
      context.fillStyle = "#000";
      context.fillRect(0, 0, viewport.size.width, viewport.size.height);
    }
    if (!state.hidden) this.#contours(context);
    if (state.showing === "now") this.tool?.draw?.(context);
    this.canvas.dataset.frame = frame ? `${state.phase}/${state.slice}` : "";
    this.drawTimes.push(performance.now() - began);
    if (this.drawTimes.length > 600) this.drawTimes.shift();
  }

  #image(context, frame, fine) {
    const { state, viewport } = this;
    const draw = (to) => drawImage(to, this.bitmap.fill(frame, state.window, viewport.visible), viewport, fine);
    if (fine) {
      draw(context);
      return;
    }
    const { width, height } = this.canvas;
    if (!width || !height) return; // not laid out: there is nothing to see, and an empty canvas cannot be drawn
    const scale = context.getTransform();
    const { scaleX, left, top } = viewport.transform;
    const view = `${scaleX} ${left} ${top} ${width} ${height} ${state.window.centre} ${state.window.width}`;
    const place = { name: `${state.phase}/${state.slice}`, view, width, height, count: state.exam.phases };
    context.setTransform(1, 0, 0, 1, 0, 0);
    this.scaled.draw(context, place, (to) => {
      to.setTransform(scale);
      draw(to);
    });
    context.setTransform(scale);
  }

  /** Once nothing moves any more, draw the image with the better interpolation. */
  #refineSoon() {
    clearTimeout(this.refining);
    if (this.state.playing) return;
    this.refining = setTimeout(() => this.grip === null && this.paint(true), REFINE_MS);
  }

  #contours(context) {
    const { state } = this;
    const shown = state.frameAt(state.phase, state.slice);
    for (const { key, color } of state.structures) {
      const present = state.showing === "now" ? state.polygons(key) : (shown.contours[key] ?? []);
      const style = {
        colour: color,
        origin: shown.origins[key]?.origin,
        width: key === state.structure ? 2 : 1.3,
        faint: false,
      };
      for (const polygon of present) drawContour(context, polygon, this.viewport, style);
    }
  }

  /** The image point below an event. */
  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return this.viewport.toImage([event.clientX - box.left, event.clientY - box.top]);
  }

  /** How many image pixels a screen pixel is. */
  get fineness() {
    return 1 / this.viewport.scale;
  }

  #listen() {
    const { canvas } = this;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", (event) => this.#cancel(event));
    canvas.addEventListener("pointerleave", () => this.tool?.away?.());
    canvas.addEventListener("dblclick", (event) => this.tool?.double?.(this.place(event), event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.#wheeled(event), { passive: false });
  }

  #down(event) {
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, [event.clientX, event.clientY]);
    if (this.pointers.size === 2) {
      if (this.grip === "tool") this.tool.cancel?.();
      this.grip = "pinch";
      return;
    }
    if (this.pointers.size > 2) return;
    if (event.button === 2 || (event.button === 0 && event.shiftKey && this.tool.name === "look")) this.grip = "window";
    else if (event.button === 1) this.grip = "pan";
    else if (this.state.showing !== "now" && this.tool.name !== "look") this.grip = null;
    else {
      this.grip = "tool";
      this.tool.down?.(this.place(event), event);
    }
    this.draw();
  }

  #move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) {
      this.tool?.hover?.(this.place(event), event);
      this.draw();
      return;
    }
    const now = [event.clientX, event.clientY];
    if (this.grip === "pinch") this.#pinch(event.pointerId, now);
    this.pointers.set(event.pointerId, now);
    const [dx, dy] = [now[0] - before[0], now[1] - before[1]];
    if (this.grip === "window") this.changeWindow(dx, dy);
    else if (this.grip === "pan") this.viewport.panBy(dx, dy);
    else if (this.grip === "tool") {
      // All points between two screen frames, so that a stroke keeps its shape.
      const events = event.getCoalescedEvents?.() ?? [];
      for (const one of events.length ? events : [event]) this.tool.move?.(this.place(one), one, [dx, dy]);
    }
    this.draw();
  }

  #pinch(id, now) {
    const box = this.canvas.getBoundingClientRect();
    const [other] = [...this.pointers].filter(([key]) => key !== id).map(([, place]) => place);
    const before = this.pointers.get(id);
    const size = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]) || 1;
    const middle = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
    const [old, made] = [middle(before, other), middle(now, other)];
    this.viewport.panBy(made[0] - old[0], made[1] - old[1]);
    this.viewport.zoomAt(size(now, other) / size(before, other), [made[0] - box.left, made[1] - box.top]);
  }

  #up(event) {
    if (!this.pointers.delete(event.pointerId)) return;
    if (this.grip === "tool" && this.pointers.size === 0) this.tool.up?.(this.place(event), event);
    if (this.pointers.size === 0) this.grip = null;
    this.draw();
  }

  #cancel(event) {
    this.pointers.delete(event.pointerId);
    if (this.grip === "tool") this.tool.cancel?.();
    if (this.pointers.size === 0) this.grip = null;
    this.draw();
  }

  #wheeled(event) {
    event.preventDefault();
    const box = this.canvas.getBoundingClientRect();
    const lines = event.deltaMode === 1 ? 16 : 1;
    const amount = (Math.abs(event.deltaY) > Math.abs(event.deltaX) ? event.deltaY : event.deltaX) * lines;
    if (event.ctrlKey) {
      this.viewport.zoomAt(Math.exp(-amount / 200), [event.clientX - box.left, event.clientY - box.top]);
    } else if (!this.tool?.wheel?.(amount, event)) {
      this.wheel += amount;
      const steps = Math.trunc(this.wheel / WHEEL_STEP);
      this.wheel -= steps * WHEEL_STEP;
      // One turn of a mouse wheel is one step, however many pixels it sends.
      const step = Math.sign(steps);
      if (step && event.shiftKey) this.state.go({ phase: this.state.phase + step });
      else if (step) this.state.goRow(step);
    }
    this.draw();
  }

  /** Window (contrast) with the horizontal, level (brightness) with the vertical movement. */
  changeWindow(dx, dy) {
    const unit = this.state.usualWindow.width / 300;
    const { centre, width } = this.state.window;
    this.state.set("window", { window: { centre: centre + dy * unit, width: Math.max(unit, width + dx * unit) } });
  }

  zoomBy(factor) {
    const { width, height } = this.viewport.size;
    this.viewport.zoomAt(factor, [width / 2, height / 2]);
    this.draw();
  }
}
