// Closed polygons on the grid of the image: arrays of [x, y] in pixels, x = column, y = row, whole numbers at pixel
// centres, the last point joined to the first. Every function returns a new polygon and leaves its arguments alone.

/** Area without sign, in square pixels (the shoelace formula, as `polygon_area` in Python). */
export function area(polygon) {
  return Math.abs(signedArea(polygon));
}

/** Area, positive where the points run clockwise on the screen (y down). */
export function signedArea(polygon) {
  let sum = 0;
  for (let i = 0, last = polygon.length - 1; i < polygon.length; last = i++) {
    sum += polygon[last][0] * polygon[i][1] - polygon[i][0] * polygon[last][1];
  }
  return sum / 2;
}

/** Centre of the area; of the points, if the area vanishes. */
export function centroid(polygon) {
  const doubled = 2 * signedArea(polygon);
  if (Math.abs(doubled) < 1e-9) {
    const sum = polygon.reduce(([x, y], point) => [x + point[0], y + point[1]], [0, 0]);
    return [sum[0] / polygon.length, sum[1] / polygon.length];
  }
  let x = 0;
  let y = 0;
  for (let i = 0, last = polygon.length - 1; i < polygon.length; last = i++) {
    const cross = polygon[last][0] * polygon[i][1] - polygon[i][0] * polygon[last][1];
    x += (polygon[last][0] + polygon[i][0]) * cross;
    y += (polygon[last][1] + polygon[i][1]) * cross;
  }
  return [x / (3 * doubled), y / (3 * doubled)];
}

/** Length of the closed line. */
export function perimeter(polygon) {
  let length = 0;
  for (let i = 0, last = polygon.length - 1; i < polygon.length; last = i++) length += distance(polygon[last], polygon[i]);
  return length;
}

export function distance(a, b) {
  return Math.hypot(a[0] - b[0], a[1] - b[1]);
}

/** Whether a point lies inside (even-odd rule). */
export function contains(polygon, [x, y]) {
  let inside = false;
  for (let i = 0, last = polygon.length - 1; i < polygon.length; last = i++) {
    const [ax, ay] = polygon[i];
    const [bx, by] = polygon[last];
    if (ay > y !== by > y && x < ((bx - ax) * (y - ay)) / (by - ay) + ax) inside = !inside;
  }
  return inside;
}

/** The place on the line nearest to a point: {distance, edge, point}, where edge i runs from point i to point i + 1. */
export function nearest(polygon, [x, y]) {
  let best = { distance: Infinity, edge: 0, point: polygon[0] };
  for (let i = 0; i < polygon.length; i++) {
    const [ax, ay] = polygon[i];
    const [bx, by] = polygon[(i + 1) % polygon.length];
    const squared = (bx - ax) ** 2 + (by - ay) ** 2;
    const along = squared ? Math.min(1, Math.max(0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / squared)) : 0;
    const point = [ax + along * (bx - ax), ay + along * (by - ay)];
    const away = distance(point, [x, y]);
    if (away < best.distance) best = { distance: away, edge: i, point };
  }
  return best;
}

/** The same line with points at equal distances along it, beginning at the first point. */
export function resample(polygon, count) {
  const total = perimeter(polygon);
  if (polygon.length < 2 || total === 0) return polygon.map((point) => [...point]);
  const step = total / count;
  const made = [];
  let walked = 0; // length of the line up to the beginning of the present edge
  let edge = 0;
  let length = distance(polygon[0], polygon[1 % polygon.length]);
  for (let k = 0; k < count; k++) {
    const target = k * step;
    while (walked + length < target && edge < polygon.length - 1) {
      walked += length;
      edge += 1;
      length = distance(polygon[edge], polygon[(edge + 1) % polygon.length]);
    }
    const part = length ? (target - walked) / length : 0;
    const [ax, ay] = polygon[edge];
    const [bx, by] = polygon[(edge + 1) % polygon.length];
    made.push([ax + part * (bx - ax), ay + part * (by - ay)]);
  }
  return made;
}

/** The same line with points about `spacing` pixels apart: fine enough to be pushed, coarse enough to be quick. */
export function spaced(polygon, spacing = 0.8) {
  const count = Math.max(12, Math.min(400, Math.round(perimeter(polygon) / spacing)));
  return resample(polygon, count);
}

/** Each point moved towards the middle of its neighbours; a few passes take the tremble out of a hand. */
export function smoothed(polygon, passes = 1, strength = 0.5) {
  let line = polygon;
  for (let pass = 0; pass < passes; pass++) {
    line = line.map(([x, y], i) => {
      const [ax, ay] = line[(i + line.length - 1) % line.length];
      const [bx, by] = line[(i + 1) % line.length];
      return [x + strength * ((ax + bx) / 2 - x), y + strength * ((ay + by) / 2 - y)];
    });
  }
  return line;
}

/** Where two edges cross, or null; touching ends do not count. */
function crossing(a, b, c, d) {
  const rx = b[0] - a[0];
  const ry = b[1] - a[1];
  const sx = d[0] - c[0];
  const sy = d[1] - c[1];
  const cross = rx * sy - ry * sx;
  if (cross === 0) return null;
  const t = ((c[0] - a[0]) * sy - (c[1] - a[1]) * sx) / cross;
  const u = ((c[0] - a[0]) * ry - (c[1] - a[1]) * rx) / cross;
  return t > 0 && t < 1 && u > 0 && u < 1 ? [a[0] + t * rx, a[1] + t * ry] : null;
}

/** The first two edges that cross, {first, second, point}, or null for a simple polygon. */
function firstCrossing(polygon) {
  const n = polygon.length;
  for (let i = 0; i < n; i++) {
    for (let j = i + 2; j < n; j++) {
      if (i === 0 && j === n - 1) continue; // neighbours across the join
      const point = crossing(polygon[i], polygon[i + 1], polygon[j], polygon[(j + 1) % n]);
      if (point) return { first: i, second: j, point };
    }
  }
  return null;
}

export function isSimple(polygon) {
  return firstCrossing(polygon) === null;
}

/**
 * A simple polygon: at each crossing the smaller loop is cut off. A line that crosses itself has no area that two
 * programs agree on, so none is ever sent.
 */
export function untangled(polygon) {
  let line = polygon;
  for (let round = 0; round < 50; round++) {
    const hit = firstCrossing(line);
    if (!hit) return line;
    const inner = [hit.point, ...line.slice(hit.first + 1, hit.second + 1)];
    const outer = [...line.slice(0, hit.first + 1), hit.point, ...line.slice(hit.second + 1)];
    line = area(inner) > area(outer) ? inner : outer;
  }
  return line;
}

/** Moved by (dx, dy) pixels. */
export function shifted(polygon, dx, dy) {
  return polygon.map(([x, y]) => [x + dx, y + dy]);
}

/**
 * Grown by a distance along the outward normals; shrunk by a negative one. Null if nothing would be left. Where the
 * line bends more sharply than the distance, normals cross: points nearer to the old line than the distance are dropped.
 */
export function grown(polygon, by) {
  const line = spaced(polygon);
  const outward = signedArea(line) > 0 ? 1 : -1;
  const made = line.map(([x, y], i) => {
    const [ax, ay] = line[(i + line.length - 1) % line.length];
    const [bx, by_] = line[(i + 1) % line.length];
    const length = Math.hypot(bx - ax, by_ - ay) || 1;
    return [x + (outward * by * (by_ - ay)) / length, y - (outward * by * (bx - ax)) / length];
  });
  const far = made.filter((point) => {
    const away = nearest(line, point).distance >= Math.abs(by) - 0.05;
    return away && contains(line, point) === by < 0;
  });
  if (far.length < 6) return null;
  const simple = spaced(untangled(far));
  return area(simple) < 4 ? null : simple;
}
