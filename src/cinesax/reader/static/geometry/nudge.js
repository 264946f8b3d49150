// The nudge circle: a disc that a person moves against a contour. It pushes the line out of its way, or pulls along
// what lies inside of it.

import { distance, spaced, untangled } from "./polygon.js";

/**
 * A contour after the circle moved from one place to another. Long moves are taken in steps: a circle that jumps over
 * the line would leave it untouched.
 *
 * @param polygon the contour
 * @param move {from: [x, y], to: [x, y], radius, pull}: pull drags the line, else the circle pushes it
 */
export function nudged(polygon, { from, to, radius, pull = false }) {
  const spacing = Math.max(0.5, Math.min(0.8, radius / 4));
  let line = spaced(polygon, spacing);
  const steps = Math.max(1, Math.min(64, Math.ceil(distance(from, to) / Math.max(0.5, radius / 3))));
  let before = from;
  for (let k = 1; k <= steps; k++) {
    const now = [from[0] + ((to[0] - from[0]) * k) / steps, from[1] + ((to[1] - from[1]) * k) / steps];
    line = pull ? pulled(line, before, now, radius) : pushed(line, now, radius);
    before = now;
    if (k % 4 === 0) line = spaced(untangled(line), spacing);
  }
  return spaced(untangled(line), spacing);
}

/** Points inside of the circle go to its border. */
function pushed(line, [cx, cy], radius) {
  return line.map(([x, y]) => {
    const dx = x - cx;
    const dy = y - cy;
    const away = Math.hypot(dx, dy);
    if (away >= radius || away === 0) return [x, y];
    return [cx + (dx / away) * radius, cy + (dy / away) * radius];
  });
}

/** Points inside of the circle follow it: wholly at its centre, not at all at its border, so that no corner is made. */
function pulled(line, from, to, radius) {
  return line.map(([x, y]) => {
    const part = Math.hypot(x - from[0], y - from[1]) / radius;
    if (part >= 1) return [x, y];
    const follow = (1 + Math.cos(Math.PI * part)) / 2;
    return [x + follow * (to[0] - from[0]), y + follow * (to[1] - from[1])];
  });
}
