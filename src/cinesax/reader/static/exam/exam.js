// The page of one exam: builds it, loads it, and keeps it in step with other windows.

import { get, post } from "../shared/api.js";
import { fill, h } from "../shared/dom.js";
import { oncePerFrame } from "../shared/store.js";
import { Actions } from "./actions.js";
import { compareDetails, historyDetails } from "./details.js";
import { Curve } from "./curve.js";
import { Edits } from "./edits.js";
import { Expectation } from "./expectation.js";
import { Grid } from "./grid.js";
import { examKeys } from "./keys.js";
import { LongAxis } from "./long_axis.js";
import { Numbers } from "./numbers.js";
import { Pixels } from "./pixels.js";
import { Player } from "./player.js";
import { Findings, Sign } from "./sign.js";
import { Stage } from "./stage.js";
import { ExamState } from "./state.js";
import { actionBar, legend, phaseBar, structureBar, toolStrip } from "./toolbar.js";
import { Draw } from "./tools/draw.js";
import { Look } from "./tools/look.js";
import { Nudge } from "./tools/nudge.js";
import { Points } from "./tools/points.js";

const HERE_MS = 5000;

/**
 * Show an exam.
 *
 * @param id of the exam
 * @param page {view, bar, notices, keyboard, message, state}: the shell
 * @returns a function that ends it
 */
export async function showExam(id, page) {
  const data = await get(`/api/exams/${id}`);
  const state = new ExamState(data);
  state.pixels = new Pixels(state.id, state.exam);
  // Requested now, while the page is built.
  const first = state.pixels.loadFrame(state.phase, state.slice);
  document.title = `${state.name} · cinesax reader`;
  const shown = new ExamPage(state, page);
  // For tests and measurements in the browser; the page does not use it.
  window.cinesaxExam = shown;
  await shown.open(first);
  return () => shown.close();
}

class ExamPage {
  constructor(state, page) {
    this.state = state;
    this.page = page;
    this.stopped = new AbortController();
    this.timers = [];
    const tell = {
      message: page.message,
      waiting: (count, error) => this.#waiting(count, error),
      reload: () => this.reload(),
    };
    this.edits = new Edits(state, tell);
    this.canvas = h("canvas.stage", { tabindex: "0", role: "img", "aria-label": "The frame and its contours", "aria-describedby": "place" });
    this.stage = new Stage(state, this.canvas);
    this.tools = {
      look: new Look(this.stage),
      nudge: new Nudge(this.stage, this.edits),
      points: new Points(this.stage, this.edits),
      draw: new Draw(this.stage, this.edits),
    };
    this.actions = new Actions({ state, edits: this.edits, stage: this.stage, tools: this.tools, tell });
    this.player = new Player(state);
    this.grid = new Grid(state, (place) => {
      this.player.stop();
      state.go(place);
    });
    this.curve = new Curve(state, { go: (phase) => state.go({ phase }), set: (name, phase) => this.actions.setPhase(name, phase) });
    this.numbers = new Numbers(state);
    this.expectation = new Expectation(state);
    this.findings = new Findings(state);
    this.sign = new Sign(state, this.edits, tell);
    this.longAxis = new LongAxis(state);
    this.#build();
    this.#follow();
  }

  #build() {
    const { state, actions, player, tools, page } = this;
    const context = { state, actions, player, tools };
    this.frame = h("div.frame", {}, this.canvas, h("p.first-label", { text: "First contours, before any edit", hidden: true }));
    const left = h("div.left", {}, structureBar(context), toolStrip(context), this.frame, actionBar(context), this.longAxis.element);
    this.curveBox = h("div.curve-box", {}, phaseBar(context), this.curve.element);
    this.gridBox = h("div.grid-box", {}, this.grid.element);
    const right = h(
      "div.right",
      {},
      h("div.scroll", { tabindex: "-1" },
        h("div.values", {}, this.numbers.table, this.curveBox),
        this.expectation.element,
        this.findings.element,
        h("section", { "aria-label": "All frames" }, this.gridBox, legend()),
        historyDetails(state),
        compareDetails(state),
      ),
      this.sign.element,
    );
    fill(page.view, h("div.exam", {}, left, right));
    page.setTitle(state.name, patientOf(state));
  }

  #follow() {
    const { state, grid, curve } = this;
    const marks = oncePerFrame(() => {
      grid.mark();
      curve.moved();
    });
    const numbers = oncePerFrame(() => {
      curve.update();
      grid.marks();
    });
    const everything = oncePerFrame(() => grid.all());
    state.on("place", marks);
    state.on("numbers", numbers);
    state.on("window", () => {
      clearTimeout(this.windowTimer);
      this.windowTimer = setTimeout(everything, 150);
      this.stage.draw();
    });
    state.on("contours", (frames) => {
      if (frames && frames.length < 60) frames.forEach(({ phase, slice }) => grid.one(phase, slice));
      else everything();
    });
    state.on("contours view", () => (this.frame.lastChild.hidden = state.showing === "now"));
    const keys = examKeys({ ...this, state, back: () => (location.hash = "#/") });
    this.page.keyboard.set(keys);
  }

  /** @param first settles when the first frame has come */
  async open(first) {
    const { state } = this;
    this.resizing = new ResizeObserver(oncePerFrame(() => this.#resize()));
    for (const element of [this.frame, this.gridBox, this.curveBox, this.longAxis.element]) this.resizing.observe(element);
    this.#resize();
    this.actions.use("look");
    this.actions.zoomToHeart();
    await first;
    state.windowFromHeart(state.pixels.get(state.phase, state.slice));
    this.stage.paint();
    performance.mark("first-image");
    this.grid.start();
    this.#here();
    this.timers.push(setInterval(() => this.#here(), HERE_MS));
    // Not awaited: the page can already be used.
    this.#loadRest();
    window.addEventListener("beforeunload", this.#leaving);
    window.addEventListener("cinesax-theme", this.#theme);
  }

  async #loadRest() {
    try {
      await this.state.pixels.loadAll(() => this.state.slice, (slice) => {
        this.grid.row(slice);
        this.stage.draw();
      });
      performance.mark("all-images");
      await this.longAxis.load(this.stopped.signal);
      this.page.view.dataset.ready = this.state.id;
    } catch (error) {
      if (error.name !== "AbortError") this.page.message(error.message, true);
    }
  }

  #leaving = (event) => {
    if (this.edits.pending) event.preventDefault();
  };

  #theme = () => {
    this.grid.all();
    this.#sizes = "";
    this.#resize();
  };

  #sizes = "";

  #resize() {
    const box = this.frame.getBoundingClientRect();
    const style = getComputedStyle(this.frame);
    const narrow = style.getPropertyValue("--narrow").trim() === "1";
    const { columns, rows } = this.state.exam;
    const height = narrow ? Math.min(box.width * ((rows * this.state.aspect) / columns), window.innerHeight * 0.62) : box.height;
    const curve = this.curve.element.clientWidth;
    const sizes = [box.width, height, this.gridBox.clientWidth, curve, this.longAxis.element.clientHeight].join();
    // What is drawn changes the sizes that are observed: only a real change is followed.
    if (sizes === this.#sizes) return;
    this.#sizes = sizes;
    this.stage.resize(Math.floor(box.width), Math.floor(height));
    this.grid.resize(this.gridBox.clientWidth);
    this.curve.resize(curve, 178);
    this.longAxis.resize();
  }

  #waiting(count, error) {
    const text = error ? `${error} ${count === 1 ? "One edit waits" : `${count} edits wait`}; do not close this page.` : count ? "Saving…" : "Saved";
    this.page.state(text, Boolean(error));
  }

  /** Load the present state from the server. */
  async reload() {
    this.state.take(await get(`/api/exams/${this.state.id}`));
  }

  /** Tell the server that this window shows the exam, and learn of other windows. */
  async #here() {
    try {
      const { others, version, changed } = await post(`/api/exams/${this.state.id}/here`, { window: this.page.windowId });
      this.page.notice("elsewhere", others > 0 ? "This exam is open in another window. Every edit is kept, and each window takes over what the other did; only one should correct at a time." : null);
      const other = version !== this.state.version || changed !== this.state.changedSince;
      if (other && !this.edits.pending && !this.state.draft) await this.reload();
    } catch (error) {
      if (error.code === "no-answer") this.page.state(error.message, true);
    }
  }

  close() {
    this.player.stop();
    this.edits.stop();
    this.stopped.abort();
    this.state.pixels.stop();
    this.resizing.disconnect();
    this.timers.forEach(clearInterval);
    clearTimeout(this.windowTimer);
    window.removeEventListener("beforeunload", this.#leaving);
    window.removeEventListener("cinesax-theme", this.#theme);
    this.page.notice("elsewhere", null);
    this.page.state("");
    delete this.page.view.dataset.ready;
    delete window.cinesaxExam;
  }
}

function patientOf({ patient }) {
  if (!patient) return "";
  return [patient.name, patient.patient_id, patient.birth_date, patient.study_date].filter(Boolean).join(" · ");
}
