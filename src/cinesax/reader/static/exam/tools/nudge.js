// The nudge circle: from inside of a contour it pushes the line out, from outside it pushes it in. Pulling drags the
// line along; Alt does the other of the two. The wheel sizes the circle. Without a contour, it draws a circle.

import { area, contains, nearest } from "../../geometry/polygon.js";
import { nudged } from "../../geometry/nudge.js";
import { drawCircle } from "../render.js";
import { remember, remembered } from "../../shared/store.js";

const [SMALLEST, LARGEST] = [1, 40]; // radius in pixels of the image

export class Nudge {
  name = "nudge";
  cursor = "none";

  constructor(stage, edits) {
    this.stage = stage;
    this.edits = edits;
    this.radius = Number(remembered("nudge")) || 6;
    this.pull = false;
    this.at = null;
    this.moving = null;
  }

  setPull(pull) {
    this.pull = pull;
    this.stage.state.emit("radius");
  }

  setRadius(radius) {
    this.radius = Math.max(SMALLEST, Math.min(LARGEST, radius));
    remember("nudge", this.radius.toFixed(2));
    this.stage.state.emit("radius");
    this.stage.draw();
  }

  wheel(amount, event) {
    if (event.shiftKey) return false;
    this.setRadius(this.radius * Math.exp(-Math.max(-80, Math.min(80, amount)) / 500));
    return true;
  }

  hover(place) {
    this.at = place;
  }

  away() {
    if (!this.moving) this.at = null;
  }

  down(place, event) {
    const { state } = this.stage;
    const polygons = state.polygons(state.structure);
    const at = { phase: state.phase, slice: state.slice, structure: state.structure };
    this.at = place;
    if (!polygons.length) {
      const round = circle(place, Math.max(3, this.radius));
      this.moving = { ...at, before: [], polygons: [round], index: 0, last: place, pull: false };
    } else {
      const index = closest(polygons, place);
      this.moving = { ...at, before: polygons, polygons, index, last: place, pull: event.altKey !== this.pull };
    }
    this.#apply(place);
  }

  move(place) {
    this.at = place;
    if (this.moving) this.#apply(place);
  }

  #apply(place) {
    const { state } = this.stage;
    const { moving } = this;
    const old = moving.polygons[moving.index];
    const made = nudged(old, { from: moving.last, to: place, radius: this.radius, pull: moving.pull });
    moving.last = place;
    if (area(made) < 2) return;
    moving.polygons = moving.polygons.map((polygon, i) => (i === moving.index ? made : polygon));
    const { phase, slice, structure, polygons } = moving;
    state.set("draft", { draft: { phase, slice, structure, polygons } });
    this.edits.preview(structure, phase, slice, polygons);
  }

  up() {
    const { moving } = this;
    this.moving = null;
    if (moving) this.edits.set(moving.structure, moving.phase, moving.slice, moving.polygons);
  }

  cancel() {
    this.moving = null;
    this.stage.state.set("draft", { draft: null });
    this.stage.state.preview(null);
  }

  leave() {
    if (this.moving) this.cancel();
  }

  draw(context) {
    if (!this.at) return;
    const { state, viewport } = this.stage;
    const { color } = state.structures.find(({ key }) => key === state.structure);
    drawCircle(context, this.at, this.radius, viewport, { colour: color, active: this.moving !== null });
  }
}

/** The polygon that a place lies in or is nearest to. */
export function closest(polygons, place) {
  const inside = polygons.findIndex((polygon) => contains(polygon, place));
  if (inside >= 0) return inside;
  const away = polygons.map((polygon) => nearest(polygon, place).distance);
  return away.indexOf(Math.min(...away));
}

function circle([x, y], radius) {
  return Array.from({ length: 48 }, (_, i) => {
    const angle = (2 * Math.PI * i) / 48;
    return [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
  });
}
