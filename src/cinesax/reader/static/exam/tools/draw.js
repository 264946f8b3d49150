// Freehand: a closed stroke is the new contour; a stroke from the contour back to the contour replaces that part.

import { closedStroke, spliced } from "../../geometry/freehand.js";
import { drawContour } from "../render.js";
import { closest } from "./nudge.js";

export class Draw {
  name = "draw";
  cursor = "crosshair";

  constructor(stage, edits) {
    this.stage = stage;
    this.edits = edits;
    this.stroke = null;
  }

  down(place) {
    this.stroke = [place];
  }

  move(place) {
    this.stroke?.push(place);
  }

  up() {
    const { stroke } = this;
    this.stroke = null;
    if (!stroke || stroke.length < 3) return;
    const { state } = this.stage;
    const polygons = state.polygons(state.structure);
    const index = polygons.length ? closest(polygons, stroke[0]) : -1;
    const reach = Math.max(2, 10 * this.stage.fineness);
    const part = index >= 0 ? spliced(polygons[index], stroke, reach) : null;
    const whole = part ? null : closedStroke(stroke);
    if (part) this.edits.set(state.structure, state.phase, state.slice, polygons.with(index, part));
    else if (whole) this.edits.set(state.structure, state.phase, state.slice, [whole]);
  }

  cancel() {
    this.stroke = null;
  }

  leave() {
    this.stroke = null;
  }

  draw(context) {
    if (!this.stroke) return;
    const { state, viewport } = this.stage;
    const { color } = state.structures.find(({ key }) => key === state.structure);
    drawContour(context, this.stroke, viewport, { colour: color, width: 2, open: true });
  }
}
