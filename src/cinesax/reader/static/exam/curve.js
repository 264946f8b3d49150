// Volume over the heart beat, with ED and ES as marks that can be dragged or moved with the arrow keys.

import uPlot from "../vendor/uplot.js";
import { h } from "../shared/dom.js";

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export class Curve {
  /**
   * @param state the exam's state
   * @param actions {go(phase), set("ed" | "es", phase)}
   */
  constructor(state, { go, set }) {
    this.state = state;
    this.element = h("div.curve", { role: "group", "aria-label": "Volume over the heart beat" });
    this.present = h("div.present");
    this.marks = {
      ed: mark("ED", "End diastole", (phase) => set("ed", phase), state),
      es: mark("ES", "End systole", (phase) => set("es", phase), state),
    };
    for (const [name, element] of Object.entries(this.marks)) this.#draggable(name, element, set);
    this.element.addEventListener("click", (event) => {
      if (event.target.closest(".mark") || !this.plot) return;
      go(this.#phaseAt(event));
    });
  }

  /** Make the plot anew, after a change of size or theme. */
  resize(width, height) {
    if (width < 50) return;
    const soft = colour("soft");
    const line = colour("line");
    const font = "11px system-ui, sans-serif";
    const axis = { stroke: soft, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1, size: 4 }, font };
    const series = [
      { label: "Phase" },
      { label: "First", stroke: colour("soft"), width: 2, dash: [6, 3], points: { show: false } },
      { label: "Now", stroke: colour("accent"), width: 2, points: { show: true, size: 5, fill: colour("accent") } },
      { label: "RV", stroke: "#b9cf54", width: 1.5, points: { show: false } },
    ];
    this.plot?.destroy();
    this.plot = new uPlot(
      {
        width,
        height,
        padding: [18, 12, 0, 0],
        legend: { show: false },
        cursor: { show: false },
        scales: { x: { time: false, range: [-0.5, this.state.exam.phases - 0.5] }, y: { range: (_, low, high) => [0, Math.max(1, high || low || 1) * 1.05] } },
        axes: [
          { ...axis, size: 30, incrs: [1, 2, 5, 10], label: null, values: (_, ticks) => ticks.map((tick) => (Number.isInteger(tick) ? tick : "")) },
          { ...axis, size: 42, incrs: [5, 10, 20, 25, 50, 100, 200, 500] },
        ],
        series,
        hooks: { draw: [() => this.#place()] },
      },
      this.#data(),
      this.element,
    );
    // The numbers and the marks say what it shows.
    this.plot.ctx.canvas.setAttribute("aria-hidden", "true");
    this.plot.over.append(this.present, this.marks.ed, this.marks.es);
    this.#place();
  }

  update() {
    this.plot?.setData(this.#data());
    this.#place();
  }

  /** The present phase, as a line behind the curve. */
  moved() {
    if (this.plot) this.present.style.transform = `translateX(${this.plot.valToPos(this.state.phase, "x")}px)`;
  }

  #data() {
    const { phases } = this.state.exam;
    const { shown: numbers, first } = this.state;
    const [before, now] = comparable(first, numbers);
    const all = (values) => Array.from({ length: phases }, (_, i) => values?.[i] ?? null);
    return [Array.from({ length: phases }, (_, i) => i), all(before), all(now), all(now === numbers?.volumes_ml ? numbers?.chambers?.rv?.volumes_ml : null)];
  }

  #place() {
    if (!this.plot) return;
    this.moved();
    for (const name of ["ed", "es"]) {
      const phase = this.dragged?.name === name ? this.dragged.phase : this.state.numbers?.[`${name}_phase`];
      const element = this.marks[name];
      element.hidden = phase === null || phase === undefined;
      if (element.hidden) continue;
      element.style.left = `${this.plot.valToPos(phase, "x")}px`;
      element.setAttribute("aria-valuenow", String(phase));
      element.setAttribute("aria-valuetext", `phase ${phase}`);
    }
  }

  #phaseAt(event) {
    const box = this.plot.over.getBoundingClientRect();
    const value = Math.round(this.plot.posToVal(event.clientX - box.left, "x"));
    return Math.max(0, Math.min(this.state.exam.phases - 1, value));
  }

  #draggable(name, element, set) {
    element.addEventListener("pointerdown", (event) => {
      element.setPointerCapture(event.pointerId);
      this.dragged = { name, phase: this.state.numbers[`${name}_phase`] };
      event.preventDefault();
      element.focus();
    });
    element.addEventListener("pointermove", (event) => {
      if (this.dragged?.name !== name) return;
      this.dragged.phase = this.#phaseAt(event);
      this.#place();
    });
    element.addEventListener("pointerup", () => {
      const phase = this.dragged?.phase;
      this.dragged = null;
      if (phase !== undefined && phase !== this.state.numbers[`${name}_phase`]) set(name, phase);
    });
    element.addEventListener("pointercancel", () => {
      this.dragged = null;
      this.#place();
    });
  }
}

/** First and present volumes; summed areas of both where one has no volumes (distances or the beat are not known). */
function comparable(first, numbers) {
  if (first?.volumes_ml && numbers?.volumes_ml) return [first.volumes_ml, numbers.volumes_ml];
  return [first?.areas_px, numbers?.areas_px];
}

function mark(text, words, set, state) {
  return h("button.mark", {
    type: "button",
    text,
    role: "slider",
    "aria-label": words,
    "aria-valuemin": "0",
    "aria-valuemax": String(state.exam.phases - 1),
    title: `${words}: drag, or use the arrow keys`,
    data: { mark: text.toLowerCase() },
    on: {
      keydown: (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!step) return;
        event.preventDefault();
        const { phases } = state.exam;
        set((state.numbers[`${text.toLowerCase()}_phase`] + step + phases) % phases);
      },
    },
  });
}
