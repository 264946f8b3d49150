// Edits on their way to the server: one after the other, none lost. Each names the version that it changes. If the exam
// has changed meanwhile, the server refuses the edit and the page loads the present state.

import { post } from "../shared/api.js";
import { remembered } from "../shared/store.js";
import { packed } from "./state.js";

const RETRY_MS = 2000;

export class Edits {
  /**
   * @param state the exam's state
   * @param tell {message(text), waiting(count, error)}
   */
  constructor(state, tell) {
    this.state = state;
    this.tell = tell;
    this.queue = [];
    this.busy = false;
    this.stopped = false;
    this.previewing = false;
    this.nextPreview = null;
  }

  get by() {
    return remembered("reader") ?? "";
  }

  get pending() {
    return this.queue.length;
  }

  /** Resolves when all edits are stored. */
  async settled() {
    while (this.queue.length && !this.stopped) await new Promise((wake) => setTimeout(wake, 20));
  }

  /** An edit of the contract: {op, ...}. Resolves when it is stored; false if it was refused. */
  edit(edit) {
    return this.#send(`/api/exams/${this.state.id}/edits`, () => ({ version: this.state.version, by: this.by, edit }));
  }

  /** A contour as drawn; shown at once. */
  set(structure, phase, slice, polygons) {
    this.nextPreview = null;
    this.state.draft = null;
    this.state.put(structure, phase, slice, polygons);
    return this.edit({ op: "set", structure, phase, slice, polygons: polygons.map(packed) });
  }

  undo() {
    return this.#send(`/api/exams/${this.state.id}/undo`, () => ({ version: this.state.version, by: this.by }));
  }

  redo() {
    return this.#send(`/api/exams/${this.state.id}/redo`, () => ({ version: this.state.version, by: this.by }));
  }

  #send(path, body) {
    return new Promise((resolve) => {
      this.queue.push({ path, body, resolve });
      this.tell.waiting(this.queue.length, null);
      this.#work();
    });
  }

  async #work() {
    if (this.busy) return;
    this.busy = true;
    while (this.queue.length && !this.stopped) {
      const { path, body, resolve } = this.queue[0];
      try {
        const change = await post(path, body());
        this.queue.shift();
        // A later edit that is still on its way has been shown already; the answer to an earlier one must not hide it.
        this.state.change(this.#withoutNewer(change));
        resolve(change);
      } catch (error) {
        if (error.code === "no-answer") {
          this.tell.waiting(this.queue.length, error.message);
          await new Promise((wake) => setTimeout(wake, RETRY_MS));
          continue;
        }
        this.queue.shift();
        this.#refused(error);
        resolve(false);
      }
      this.tell.waiting(this.queue.length, null);
    }
    this.busy = false;
  }

  #withoutNewer(change) {
    if (!this.queue.length) return change;
    const later = this.queue.map(({ body }) => body().edit).filter((edit) => edit?.op === "set");
    const frames = change.frames.filter(({ phase, slice }) => !later.some((edit) => edit.phase === phase && edit.slice === slice));
    return { ...change, frames };
  }

  #refused(error) {
    if (error.code === "stale" && error.rest.state) {
      this.queue.splice(0).forEach(({ resolve }) => resolve(false));
      this.state.take(error.rest.state);
      this.tell.message("The exam was changed in another window. The page now shows the new state; your last edit was not made.", true);
      return;
    }
    this.tell.message(error.message, true);
    this.tell.reload();
  }

  /** Numbers of a contour that is being moved. The next request waits for the last answer, so no queue builds up. */
  preview(structure, phase, slice, polygons) {
    this.nextPreview = { structure, phase, slice, polygons };
    this.#previewNext();
  }

  async #previewNext() {
    if (this.previewing || !this.nextPreview) return;
    this.previewing = true;
    const { polygons, ...place } = this.nextPreview;
    this.nextPreview = null;
    try {
      const { numbers } = await post(`/api/exams/${this.state.id}/preview`, { ...place, polygons: polygons.map(packed) });
      if (this.state.draft) this.state.preview(numbers);
    } catch {
      // No message here: the edit itself will report the error.
    }
    this.previewing = false;
    this.#previewNext();
  }

  stop() {
    this.stopped = true;
  }
}
