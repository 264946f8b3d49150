// The pixels of an exam: one request for the first frame, then a slice at a time, the nearest slices first.

import { values } from "../shared/api.js";

const AT_ONCE = 2;

export class Pixels {
  /**
   * @param id of the exam
   * @param exam {phases, slices, rows, columns}
   */
  constructor(id, { phases, slices, rows, columns }) {
    this.path = `/api/exams/${id}/frames`;
    this.shape = { phases, slices, rows, columns };
    this.slices = new Array(slices).fill(null);
    this.single = new Map(); // frames loaded before their slice
    this.stopped = new AbortController();
  }

  /** One frame, {values, rows, columns}, or null until it is loaded. */
  get(phase, slice) {
    const { rows, columns } = this.shape;
    const all = this.slices[slice];
    const size = rows * columns;
    if (all) return { values: all.subarray(phase * size, (phase + 1) * size), rows, columns };
    const one = this.single.get(`${phase}/${slice}`);
    return one ? { values: one, rows, columns } : null;
  }

  get complete() {
    return this.slices.every(Boolean);
  }

  async loadFrame(phase, slice) {
    if (this.get(phase, slice)) return;
    const one = await values(`${this.path}?slice=${slice}&phase=${phase}`, { signal: this.stopped.signal });
    this.single.set(`${phase}/${slice}`, one);
  }

  /**
   * Load everything, beginning near a slice that may change meanwhile.
   *
   * @param near a function that returns the slice on the screen
   * @param loaded called with each loaded slice
   */
  async loadAll(near, loaded) {
    const wanted = new Set(this.slices.keys());
    const work = async () => {
      while (wanted.size) {
        const slice = [...wanted].sort((a, b) => Math.abs(a - near()) - Math.abs(b - near()))[0];
        wanted.delete(slice);
        this.slices[slice] = await values(`${this.path}?slice=${slice}`, { signal: this.stopped.signal });
        loaded(slice);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
    this.single.clear();
  }

  stop() {
    this.stopped.abort();
  }
}
