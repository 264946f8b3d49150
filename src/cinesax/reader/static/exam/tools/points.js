// A closed spline through points: drag one to move it, click the line to add one, double-click or Del to remove one.
// Without a contour, clicks set the first points.

import { distance, nearest } from "../../geometry/polygon.js";
import { closedSpline, controlPoints, withoutPoint, withPoint } from "../../geometry/spline.js";
import { drawContour, drawHandles } from "../render.js";
import { closest } from "./nudge.js";

const REACH = { mouse: 9, pen: 11, touch: 20 }; // screen pixels

export class Points {
  name = "points";
  cursor = "crosshair";

  constructor(stage, edits) {
    this.stage = stage;
    this.edits = edits;
    this.points = [];
    this.active = -1;
    this.moving = false;
    this.index = 0;
    this.own = null; // the polygons that these points made: another contour in their place makes new points
    stage.state.on("place contours structure", () => stage.tool === this && this.#follow());
  }

  enter() {
    this.own = null;
    this.#follow();
  }

  leave() {
    if (this.moving) this.cancel();
    this.points = [];
    this.active = -1;
  }

  /** Points for the contour of the present frame, unless it is the one that they made. */
  #follow() {
    if (this.moving) return;
    const { state } = this.stage;
    const key = `${state.phase}/${state.slice}/${state.structure}`;
    const polygons = state.polygons(state.structure);
    const size = polygons.map((polygon) => polygon.length).join();
    if (this.own && this.own.key === key && this.own.size === size && near(this.own.first, polygons[this.index]?.[0])) return;
    this.index = 0;
    this.active = -1;
    this.points = polygons.length ? controlPoints(polygons[0]) : this.own?.key === key && !this.own.size ? this.points : [];
    this.#own(polygons);
  }

  #own(polygons) {
    const { state } = this.stage;
    this.own = {
      key: `${state.phase}/${state.slice}/${state.structure}`,
      size: polygons.map((polygon) => polygon.length).join(),
      first: polygons[this.index]?.[0] ?? null,
    };
  }

  #reach(event) {
    return (REACH[event.pointerType] ?? 9) * this.stage.fineness;
  }

  #handle(place, event) {
    const away = this.points.map((point) => distance(point, place));
    const best = away.indexOf(Math.min(...away));
    return away[best] <= this.#reach(event) ? best : -1;
  }

  hover(place, event) {
    this.hovered = this.#handle(place, event);
    this.stage.canvas.style.cursor = this.hovered >= 0 ? "move" : "crosshair";
  }

  down(place, event) {
    const { state } = this.stage;
    this.changed = false;
    const polygons = state.polygons(state.structure);
    if (!polygons.length) {
      this.points = [...this.points, place];
      this.active = this.points.length - 1;
      this.moving = true;
      this.#show();
      return;
    }
    const handle = this.#handle(place, event);
    if (handle >= 0) {
      this.active = handle;
      this.moving = true;
      return;
    }
    const other = closest(polygons, place);
    if (other !== this.index && nearest(polygons[other], place).distance <= this.#reach(event)) {
      this.index = other;
      this.points = controlPoints(polygons[other]);
      this.#own(polygons);
      return;
    }
    if (nearest(polygons[this.index], place).distance > this.#reach(event)) {
      this.active = -1;
      return;
    }
    const { points, index } = withPoint(this.points, place);
    this.points = points;
    this.active = index;
    this.moving = true;
    this.#show();
  }

  move(place) {
    if (!this.moving) return;
    this.points = this.points.map((point, i) => (i === this.active ? place : point));
    this.#show();
  }

  #show() {
    this.changed = true;
    if (this.points.length < 3) return;
    const { state } = this.stage;
    const polygons = this.#polygons();
    state.set("draft", { draft: { phase: state.phase, slice: state.slice, structure: state.structure, polygons } });
    this.edits.preview(state.structure, state.phase, state.slice, polygons);
  }

  #polygons() {
    const { state } = this.stage;
    const made = closedSpline(this.points);
    const stored = state.frames.get(`${state.phase}/${state.slice}`)?.contours[state.structure] ?? [];
    return stored.length ? stored.map((polygon, i) => (i === this.index ? made : polygon)) : [made];
  }

  up() {
    if (!this.moving) return;
    this.moving = false;
    if (this.changed) this.#store();
  }

  #store() {
    const { state } = this.stage;
    if (this.points.length < 3) {
      this.#own([]);
      return;
    }
    const polygons = this.#polygons();
    this.#own(polygons);
    this.edits.set(state.structure, state.phase, state.slice, polygons);
  }

  cancel() {
    this.moving = false;
    this.own = null;
    this.stage.state.set("draft", { draft: null });
    this.stage.state.preview(null);
    this.#follow();
  }

  double(place) {
    const handle = this.#handle(place, { pointerType: "mouse" });
    if (handle >= 0) this.#remove(handle);
  }

  /** Del while a point is chosen removes the point, not the contour. */
  remove() {
    if (this.active < 0 || this.points.length <= 3) return false;
    this.#remove(this.active);
    return true;
  }

  #remove(index) {
    this.points = withoutPoint(this.points, index);
    this.active = -1;
    this.#store();
    this.stage.draw();
  }

  draw(context) {
    const { state, viewport } = this.stage;
    const { color } = state.structures.find(({ key }) => key === state.structure);
    if (this.points.length && this.points.length < 3) {
      drawContour(context, this.points, viewport, { colour: color, width: 2, open: true });
    }
    drawHandles(context, this.points, viewport, { colour: color, active: this.active });
  }
}

function near(a, b) {
  return a && b ? distance(a, b) < 0.01 : a === b || (!a && !b);
}
