// The actions of the buttons and keys of the exam page. Each correction is one edit; the server answers with the result.

import { get } from "../shared/api.js";
import { grown, shifted } from "../geometry/polygon.js";
import { shown } from "../shared/numbers.js";
import { byFrame } from "./state.js";

export class Actions {
  /**
   * @param page {state, edits, stage, tools, tell}
   */
  constructor({ state, edits, stage, tools, tell }) {
    Object.assign(this, { state, edits, stage, tools, tell });
    this.stepMm = 1;
  }

  get #here() {
    const { phase, slice } = this.state;
    return { phase, slice };
  }

  get #chamber() {
    return this.state.structures.find(({ key }) => key === this.state.structure)?.chamber ?? "lv";
  }

  use(name) {
    this.state.set("tool", { tool: name });
    this.stage.use(this.tools[name]);
  }

  chooseStructure(key) {
    this.state.set("structure", { structure: key });
    this.stage.draw();
  }

  /** reach: frame, slice (all phases) or beyond (this slice and all towards the end of the stack, all phases). */
  delete(reach) {
    if (reach === "frame" && this.state.tool === "points" && this.tools.points.remove()) return;
    const all = reach === "beyond" ? { all_phases: true } : {};
    this.edits.edit({ op: "delete", chamber: this.#chamber, ...this.#here, reach, ...all });
  }

  /** Only the contour of the chosen structure, in this frame. A wall that loses its cavity is muscle throughout. */
  async deleteContour() {
    const { state } = this;
    const { structure, phase, slice } = state;
    const mass = state.numbers.lv_mass_g;
    const alone = structure === "cavity" && state.polygons("cavity").length > 0 && state.polygons("myocardium").length > 0;
    const stored = await this.edits.edit({ op: "set", structure, phase, slice, polygons: [] });
    if (!stored || !alone) return;
    const [before, now] = [shown(mass), shown(state.numbers.lv_mass_g)];
    const changed = before === now ? "" : ` (mass: ${before} g before, now ${now} g)`;
    this.tell.message(`The epicardium is still there: all that it encloses counts as muscle now${changed}. Del deletes it too; Ctrl+Z brings the endocardium back.`);
  }

  /** The contour goes to the next phase (+1, -1), and so does the view: the key can be pressed again. */
  copyToPhase(step) {
    const { phases } = this.state.exam;
    const to = { phase: (this.state.phase + step + phases) % phases, slice: this.state.slice };
    this.#copy(to);
  }

  copyToSlice(rows) {
    const slice = this.state.neighbour(rows);
    if (slice === null) this.tell.message("There is no slice beyond this one.", true);
    else this.#copy({ phase: this.state.phase, slice });
  }

  #copy(to) {
    const { structure } = this.state;
    if (!this.state.polygons(structure).length) {
      this.tell.message(`There is no ${this.#border()} in this frame to copy.`, true);
      return;
    }
    this.edits.edit({ op: "copy", structure, ...this.#here, to: [to] });
    this.state.go(to);
  }

  #border() {
    return this.state.structures.find(({ key }) => key === this.state.structure)?.border ?? "contour";
  }

  interpolatePhases() {
    this.edits.edit({ op: "interpolate_phases", structure: this.state.structure, slice: this.state.slice });
  }

  /** Between the edited slices above and below the present one, at this phase. */
  interpolateSlices() {
    const { state } = this;
    const edited = (slice) => {
      const origin = state.frames.get(`${state.phase}/${slice}`)?.origins[state.structure];
      return origin && (origin.origin === "edited" || origin.approved) && state.polygons(state.structure, state.phase, slice).length > 0;
    };
    const rows = state.order.map((slice, row) => ({ slice, row })).filter(({ slice }) => edited(slice));
    const here = state.order.indexOf(state.slice);
    const above = rows.filter(({ row }) => row < here).at(-1);
    const below = rows.find(({ row }) => row > here);
    const own = rows.find(({ row }) => row === here);
    const [from, to] = own ? (below ? [own, below] : [above, own]) : [above, below];
    if (!from || !to || to.row - from.row < 2) {
      this.tell.message("Edit the contour in two slices of this phase, with at least one slice between them; then interpolate.", true);
      return;
    }
    this.edits.edit({ op: "interpolate_slices", structure: state.structure, phase: state.phase, from: from.slice, to: to.slice });
  }

  grow(sign, reach = "frame") {
    const { state } = this;
    const mm = sign * this.stepMm;
    if (reach === "frame") {
      const pixels = state.exam.spacing_mm ? mm / state.exam.spacing_mm[1] : mm;
      this.#moved((polygon) => grown(polygon, pixels));
    } else this.edits.edit({ op: "grow", structure: state.structure, ...this.#here, mm, reach });
  }

  shift(dx, dy) {
    this.#moved((polygon) => shifted(polygon, dx, dy));
  }

  /** Change the contours of the frame here, so that they move at once; the server gets the result. */
  #moved(change) {
    const { state } = this;
    const polygons = state.polygons(state.structure);
    if (!polygons.length) {
      this.tell.message(`There is no ${this.#border()} in this frame.`, true);
      return;
    }
    const made = polygons.map(change);
    if (made.includes(null)) this.tell.message("Nothing would be left of the contour.", true);
    else this.edits.set(state.structure, state.phase, state.slice, made);
  }

  /**
   * The present slice is the last that counts at the base, at ED or at ES. The other end stays where it is, unless the
   * base would then move away from the apex in systole.
   */
  baseEndsHere(at) {
    const { ed_phase: ed, es_phase: es } = this.state.numbers;
    if (ed === null || es === null) {
      this.tell.message("ED and ES are not known: go to a phase and press “ED here” or “ES here”.", true);
      return;
    }
    const { slice, order } = this.state;
    const row = (other, choose) => order[choose(order.indexOf(slice), order.indexOf(other ?? slice))];
    const edSlice = at === "ed" ? slice : row(this.state.basalSlice(ed), Math.min);
    const esSlice = at === "es" ? slice : row(this.state.basalSlice(es), Math.max);
    this.edits.edit({ op: "base", ed_slice: edSlice, es_slice: esSlice });
  }

  setPhase(name, phase) {
    this.edits.edit({ op: "phases", [`${name}_phase`]: phase });
  }

  phasesFromCurve() {
    this.edits.edit({ op: "phases", ed_phase: null, es_phase: null });
  }

  goTo(name) {
    const phase = this.state.numbers[`${name}_phase`];
    if (phase !== null) this.state.go({ phase });
  }

  papillary() {
    this.edits.edit({ op: "papillary", included: !this.state.papillaryIncluded });
  }

  undo() {
    if (this.state.history.undo) this.edits.undo();
    else this.tell.message("There is nothing to undo.");
  }

  redo() {
    if (this.state.history.redo) this.edits.redo();
    else this.tell.message("There is nothing to redo.");
  }

  /** First against present contours. */
  async toggleFirst() {
    const { state } = this;
    if (!state.firstFrames) state.firstFrames = byFrame((await get(`/api/exams/${state.id}/first`)).contours);
    state.set("contours", { showing: state.showing === "now" ? "first" : "now" });
    state.emit("view");
  }

  toggleContours() {
    this.state.set("view", { hidden: !this.state.hidden });
  }

  zoomToHeart() {
    this.stage.viewport.show(this.state.heartBox);
    this.stage.draw();
  }

  zoomToAll() {
    this.stage.viewport.reset();
    this.stage.draw();
  }

  resetWindow() {
    this.state.set("window", { window: this.state.usualWindow });
    this.stage.draw();
  }
}
