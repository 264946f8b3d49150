// First against present values of the whole worklist as Bland-Altman plots, to show the effect of corrections.

import uPlot from "../vendor/uplot.js";
import { get } from "../shared/api.js";
import { fill, h } from "../shared/dom.js";
import { shown } from "../shared/numbers.js";

const VALUES = [["EF", "%", "ef_percent", 1], ["EDV", "ml", "edv_ml", 0], ["ESV", "ml", "esv_ml", 0]];
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export async function agreement(dialog, message) {
  try {
    const { exams } = await get("/api/compare");
    const close = h("button", { type: "button", text: "Close", on: { click: () => dialog.close() } });
    const plots = h("div.agreement");
    fill(dialog, h("h2", { id: "dialog-title", text: "First values against those now" }), plots, h("div.actions", {}, close));
    dialog.showModal();
    fill(plots, VALUES.map((value) => figure(exams, value)));
  } catch (error) {
    message(error.message, true);
  }
}

/** Mean and limits of agreement (1.96 standard deviations; null for fewer than two exams). */
export function limits(differences) {
  const n = differences.length;
  const mean = differences.reduce((sum, value) => sum + value, 0) / n;
  if (n < 2) return { mean, spread: null };
  return { mean, spread: 1.96 * Math.sqrt(differences.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1)) };
}

function figure(exams, [name, unit, key, digits]) {
  const pairs = exams.filter(({ a, b }) => a[key] !== null && b[key] !== null).map((exam) => ({ mean: (exam.a[key] + exam.b[key]) / 2, difference: exam.b[key] - exam.a[key], name: exam.name }));
  if (!pairs.length) return h("figure", {}, h("figcaption", { text: `${name}: no exam has both values.` }));
  pairs.sort((p, q) => p.mean - q.mean);
  const { mean, spread } = limits(pairs.map(({ difference }) => difference));
  const box = h("div.plot");
  const caption = `${name}: now − first ${shown(mean, digits + 1)} ${unit}${spread === null ? "" : `, limits of agreement ${shown(mean - spread, digits + 1)} to ${shown(mean + spread, digits + 1)}`}, ${pairs.length === 1 ? "one exam" : `${pairs.length} exams`}`;
  const soft = colour("soft");
  const axis = { stroke: soft, grid: { stroke: colour("line"), width: 1 }, font: "11px system-ui, sans-serif" };
  const lines = [mean, ...(spread === null ? [] : [mean - spread, mean + spread])];
  const across = lines.map((value) => pairs.map(() => value));
  const most = Math.max(1, ...pairs.map(({ difference }) => Math.abs(difference)), ...lines.map(Math.abs)) * 1.15;
  const span = Math.max(5, pairs.at(-1).mean - pairs[0].mean);
  new uPlot(
    {
      width: Math.min(640, window.innerWidth - 90),
      height: 170,
      legend: { show: false },
      cursor: { show: false },
      scales: { x: { time: false, range: [pairs[0].mean - span * 0.08, pairs.at(-1).mean + span * 0.08] }, y: { range: [-most, most] } },
      axes: [{ ...axis, label: `Mean of both, ${unit}`, labelSize: 18, labelFont: axis.font, size: 28 }, { ...axis, size: 44 }],
      series: [{}, { stroke: colour("accent"), paths: () => null, points: { show: true, size: 7, fill: colour("accent") } }, ...across.map((_, i) => ({ stroke: soft, width: 1, dash: i ? [4, 4] : [], points: { show: false } }))],
    },
    [pairs.map((pair) => pair.mean), pairs.map(({ difference }) => difference), ...across],
    box,
  );
  return h("figure", {}, h("figcaption", { text: caption }), box);
}
