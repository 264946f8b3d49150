// Closed splines: a smooth line through a few points that a person can move.

import { distance, nearest, perimeter, resample } from "./polygon.js";

/**
 * A closed centripetal Catmull-Rom spline through points: it passes through each, changes only near a point that is
 * moved, and makes no loops where points lie close together (as the uniform one does).
 *
 * @param points at least three [x, y]
 * @param perSegment points of the line for each segment
 */
export function closedSpline(points, perSegment = 12) {
  const n = points.length;
  if (n < 3) return points.map((point) => [...point]);
  const line = [];
  for (let i = 0; i < n; i++) {
    const [p0, p1, p2, p3] = [points[(i + n - 1) % n], points[i], points[(i + 1) % n], points[(i + 2) % n]];
    const t1 = Math.sqrt(distance(p0, p1)) || 1e-6;
    const t2 = t1 + (Math.sqrt(distance(p1, p2)) || 1e-6);
    const t3 = t2 + (Math.sqrt(distance(p2, p3)) || 1e-6);
    for (let k = 0; k < perSegment; k++) {
      const t = t1 + ((t2 - t1) * k) / perSegment;
      line.push([along(0), along(1)]);
      function along(axis) {
        const a1 = mix(p0[axis], p1[axis], 0, t1, t);
        const a2 = mix(p1[axis], p2[axis], t1, t2, t);
        const a3 = mix(p2[axis], p3[axis], t2, t3, t);
        return mix(mix(a1, a2, 0, t2, t), mix(a2, a3, t1, t3, t), t1, t2, t);
      }
    }
  }
  return line;
}

function mix(a, b, ta, tb, t) {
  return (a * (tb - t) + b * (t - ta)) / (tb - ta);
}

const [FEWEST, MOST] = [6, 16];

/** The fewest points whose spline stays within `tolerance` pixels of a polygon; more than 16 are no help to a hand. */
export function controlPoints(polygon, tolerance = 0.4) {
  for (let count = FEWEST; count < MOST; count += 2) {
    const points = resample(polygon, count);
    if (deviation(polygon, closedSpline(points, 6)) <= tolerance) return points;
  }
  return resample(polygon, Math.min(MOST, Math.max(FEWEST, Math.round(perimeter(polygon) / 2))));
}

function deviation(polygon, line) {
  let most = 0;
  const step = Math.max(1, Math.floor(polygon.length / 60));
  for (let i = 0; i < polygon.length; i += step) most = Math.max(most, nearest(line, polygon[i]).distance);
  return most;
}

/** The points with one more, put where the line runs past a place. */
export function withPoint(points, place, perSegment = 12) {
  const { edge, point } = nearest(closedSpline(points, perSegment), place);
  const after = Math.floor(edge / perSegment);
  return { points: [...points.slice(0, after + 1), point, ...points.slice(after + 1)], index: after + 1 };
}

/** The points without one; three always stay. */
export function withoutPoint(points, index) {
  return points.length <= 3 ? points : points.filter((_, i) => i !== index);
}
