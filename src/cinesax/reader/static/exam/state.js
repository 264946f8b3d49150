// The state of the exam page: the exam, its contours and numbers from the server, and the present frame.
// The server holds the truth; this is a copy that is replaced frame by frame.

import { Topics } from "../shared/store.js";

const NOTHING = Object.freeze({ contours: Object.freeze({}), origins: Object.freeze({}), origin: null, approved: false, empty: true });

export class ExamState extends Topics {
  /** @param data the answer of GET /api/exams/ID */
  constructor(data) {
    super();
    this.id = data.id;
    this.exam = data.exam;
    this.structures = data.structures;
    const slices = [...Array(data.exam.slices).keys()];
    /** Slices in the order of the screen: base above, apex below. */
    this.order = data.exam.base_first === false ? slices.reverse() : slices;
    const spacing = data.exam.spacing_mm;
    this.aspect = spacing ? spacing[0] / spacing[1] : 1;
    const { low, high } = data.exam.pixels;
    this.usualWindow = { centre: (low + high) / 2, width: Math.max(1, high - low) };
    this.window = this.usualWindow;
    this.firstFrames = null;
    this.showing = "now"; // or "first"
    this.hidden = false;
    this.structure = data.structures[0]?.key ?? "cavity";
    this.playing = false;
    this.draft = null; // {phase, slice, structure, polygons}: a contour that is being changed
    this.take(data);
    this.phase = this.numbers.ed_phase ?? 0;
    this.slice = this.fullestSlice();
    this.heartBox = this.#boxAroundContours();
  }

  /** Take over the whole state from the server: at the start, and after another window changed the exam. */
  take(data) {
    this.name = data.name;
    this.patient = data.patient;
    this.frames = byFrame(data.contours, data.decided);
    this.first = data.first.numbers;
    this.firstBy = data.first.by;
    this.firstTrust = data.first.trust ?? null;
    this.versions = data.versions ?? [];
    this.approved = data.approved ?? null;
    this.changedSince = data.changed ?? null;
    this.comment = data.comment ?? null;
    this.sentBack = data.sent_back ?? false;
    this.hasPapillary = data.has_papillary_muscles ?? false;
    this.#takeSmall(data);
    for (const topic of ["contours", "numbers", "history", "sign"]) this.emit(topic);
  }

  /** Take over the answer to an edit: the frames that it changed, and the numbers. */
  change(data) {
    for (const frame of data.frames) {
      const key = `${frame.phase}/${frame.slice}`;
      const made = byFrame(frame.contours, frame.decided).get(key);
      if (made) this.frames.set(key, made);
      else this.frames.delete(key);
    }
    const before = this.status;
    this.#takeSmall(data);
    // An edit of an approved exam takes the approval from every frame.
    this.emit("contours", before === this.status ? data.frames : undefined);
    for (const topic of ["numbers", "history", "sign"]) this.emit(topic);
  }

  #takeSmall(data) {
    this.version = data.version;
    this.status = data.state;
    this.numbers = data.numbers;
    this.shown = data.numbers;
    this.findings = data.findings;
    this.trust = data.trust ?? null;
    this.overrides = data.overrides;
    this.papillaryIncluded = data.papillary_muscles_included;
    this.history = data.history;
  }

  /** Numbers of a contour that is being moved, or null for those that are stored. */
  preview(numbers) {
    this.shown = numbers ?? this.numbers;
    this.emit("numbers");
  }

  /** What lies in a frame, as shown: {contours: {structure: [polygon]}, origins, origin, approved, empty}. */
  frameAt(phase, slice) {
    const frames = this.showing === "first" && this.firstFrames ? this.firstFrames : this.frames;
    return frames.get(`${phase}/${slice}`) ?? NOTHING;
  }

  /** Whether a person approved what lies in a frame: alone, or with the whole exam. */
  isApproved(frame) {
    return frame.approved || (this.status === "approved" && this.showing === "now" && frame.origin !== null);
  }

  /** The polygons of a structure in a frame as they are now, with what a hand is changing. */
  polygons(structure, phase = this.phase, slice = this.slice) {
    const { draft } = this;
    if (draft && draft.phase === phase && draft.slice === slice && draft.structure === structure) return draft.polygons;
    return this.frames.get(`${phase}/${slice}`)?.contours[structure] ?? [];
  }

  /** Put a contour in place before the server has answered: the hand must not wait. */
  put(structure, phase, slice, polygons) {
    const key = `${phase}/${slice}`;
    const old = this.frames.get(key) ?? NOTHING;
    const contours = { ...old.contours, [structure]: polygons };
    const origins = { ...old.origins, [structure]: { origin: "edited", approved: false } };
    this.frames.set(key, summary(contours, origins));
    this.emit("contours", [{ phase, slice }]);
  }

  go({ phase = this.phase, slice = this.slice }) {
    const { phases, slices } = this.exam;
    const next = { phase: ((phase % phases) + phases) % phases, slice: Math.max(0, Math.min(slices - 1, slice)) };
    if (next.phase === this.phase && next.slice === this.slice) return;
    const moved = { phase: next.phase !== this.phase, slice: next.slice !== this.slice };
    Object.assign(this, next);
    this.emit("place", moved);
  }

  /** Rows of the screen: 1 is one slice towards the apex. */
  goRow(rows) {
    const row = this.order.indexOf(this.slice) + rows;
    if (row >= 0 && row < this.order.length) this.go({ slice: this.order[row] });
  }

  /** The slice `rows` below the present one on the screen, or null. */
  neighbour(rows) {
    return this.order[this.order.indexOf(this.slice) + rows] ?? null;
  }

  /** The slice nearest to the base with a cavity at a phase, or null. */
  basalSlice(phase) {
    return this.order.find((slice) => this.frames.get(`${phase}/${slice}`)?.contours.cavity?.length) ?? null;
  }

  set(topic, changes) {
    Object.assign(this, changes);
    this.emit(topic);
  }

  /** The middle one of the slices with a cavity at the present phase. */
  fullestSlice() {
    const drawn = this.order.filter((slice) => this.frames.get(`${this.phase}/${slice}`)?.contours.cavity?.length);
    return drawn[Math.floor(drawn.length / 2)] ?? this.order[Math.floor(this.order.length / 2)];
  }

  /** A window that suits the heart: fat at the chest wall is brighter than blood, and would make the heart dark. */
  windowFromHeart(frame) {
    const { left, top, right, bottom } = this.heartBox;
    const seen = [];
    for (let y = Math.max(0, Math.ceil(top)); y <= Math.min(frame.rows - 1, bottom); y++) {
      for (let x = Math.max(0, Math.ceil(left)); x <= Math.min(frame.columns - 1, right); x++) seen.push(frame.values[y * frame.columns + x]);
    }
    if (seen.length < 100) return;
    seen.sort((a, b) => a - b);
    const [low, high] = [seen[Math.floor(seen.length * 0.005)], seen[Math.floor(seen.length * 0.99)] * 1.05];
    if (high - low > 1) this.usualWindow = this.window = { centre: (low + high) / 2, width: high - low };
  }

  /** A square around all contours with some room, in image coordinates; the middle half where there are none. */
  #boxAroundContours() {
    const { rows, columns } = this.exam;
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    for (const { contours } of this.frames.values()) {
      for (const polygons of Object.values(contours)) {
        for (const polygon of polygons) {
          for (const [x, y] of polygon) {
            left = Math.min(left, x);
            right = Math.max(right, x);
            top = Math.min(top, y);
            bottom = Math.max(bottom, y);
          }
        }
      }
    }
    if (right < left) [left, top, right, bottom] = [columns / 4, rows / 4, (3 * columns) / 4, (3 * rows) / 4];
    const half = Math.min(Math.max(columns, rows) / 2, (Math.max(right - left, bottom - top) / 2) * 1.25 + 4);
    const [x, y] = [(left + right) / 2, (top + bottom) / 2];
    return { left: x - half, top: y - half, right: x + half, bottom: y + half };
  }
}

/** Contours and decisions of the server, by "phase/slice". */
export function byFrame(contours, decided = []) {
  const found = new Map();
  const at = ({ phase, slice }) => {
    const key = `${phase}/${slice}`;
    if (!found.has(key)) found.set(key, { contours: {}, origins: {} });
    return found.get(key);
  };
  for (const entry of contours) {
    at(entry).contours[entry.structure] = entry.polygons.map(unpacked);
    at(entry).origins[entry.structure] = entry;
  }
  for (const entry of decided) at(entry).origins[entry.structure] ??= entry;
  return new Map([...found].map(([key, frame]) => [key, summary(frame.contours, frame.origins)]));
}

/** The most human origin of a frame's structures stands for the frame; approved only if all are. */
function summary(contours, origins) {
  const all = Object.values(origins);
  const origin = ["edited", "interpolated", "given", "network"].find((name) => all.some((entry) => entry.origin === name)) ?? null;
  const empty = !Object.values(contours).some((polygons) => polygons.length);
  return { contours, origins, origin, approved: all.length > 0 && all.every((entry) => entry.approved), empty };
}

/** [x0, y0, x1, y1, ...] to [[x0, y0], ...]. */
export function unpacked(flat) {
  const points = [];
  for (let i = 0; i < flat.length; i += 2) points.push([flat[i], flat[i + 1]]);
  return points;
}

/** [[x0, y0], ...] to [x0, y0, ...], to a thousandth of a pixel. */
export function packed(polygon) {
  return polygon.flatMap(([x, y]) => [Math.round(x * 1000) / 1000, Math.round(y * 1000) / 1000]);
}
