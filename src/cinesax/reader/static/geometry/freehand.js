// Turns a stroke into a contour.

import { area, distance, nearest, resample, smoothed, spaced, untangled } from "./polygon.js";

const SMALLEST_PX2 = 4;

/**
 * A closed contour from a stroke, or null if the stroke encloses next to nothing (a click, a line).
 *
 * @param stroke [x, y] in the order drawn; its ends are joined
 */
export function closedStroke(stroke) {
  const line = withoutRepeats(stroke);
  if (line.length < 3) return null;
  const contour = spaced(smoothed(spaced(untangled(spaced(line, 0.6)), 0.6), 3));
  return area(contour) < SMALLEST_PX2 ? null : contour;
}

/**
 * A contour in which a stroke replaces a part, or null if the stroke does not fit: it must begin and end near the
 * contour, and its end must not be near its beginning. The shorter part of the contour between the two ends is replaced.
 */
export function spliced(contour, stroke, reach = 3) {
  const line = withoutRepeats(stroke);
  if (line.length < 2) return null;
  const [first, last] = [line[0], line[line.length - 1]];
  const [begin, end] = [nearest(contour, first), nearest(contour, last)];
  if (begin.distance > reach || end.distance > reach || distance(first, last) < 2 * reach) return null;
  const n = 240;
  const even = resample(contour, n);
  const [from, to] = [closestIndex(even, first), closestIndex(even, last)];
  const forward = (to - from + n) % n;
  const kept = forward <= n / 2 ? walk(even, to, from) : walk(even, from, to).reverse();
  const made = spaced(smoothed(spaced(untangled([...line, ...kept]), 0.6), 2));
  return area(made) < SMALLEST_PX2 ? null : made;
}

/** The points from one index forward to another, both included. */
function walk(points, from, to) {
  const n = points.length;
  const count = ((to - from + n) % n) + 1;
  return Array.from({ length: count }, (_, k) => points[(from + k) % n]);
}

function closestIndex(points, place) {
  let best = 0;
  for (let i = 1; i < points.length; i++) if (distance(points[i], place) < distance(points[best], place)) best = i;
  return best;
}

function withoutRepeats(stroke) {
  return stroke.filter((point, i) => i === 0 || distance(point, stroke[i - 1]) > 0.05);
}
