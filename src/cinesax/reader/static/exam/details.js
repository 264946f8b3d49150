// Folded sections below the findings: the history of edits, and the first against the present contours, slice by slice.

import { get } from "../shared/api.js";
import { fill, h } from "../shared/dom.js";
import { shown } from "../shared/numbers.js";

/** A section that loads when it is opened, and again when something it shows has changed while it is open. */
function loading(title, name, state, load) {
  const body = h("div.body");
  const element = h("details", { data: { details: name } }, h("summary", { text: title }), body);
  const show = async () => {
    if (!element.open) return;
    try {
      fill(body, await load());
    } catch (error) {
      fill(body, h("p.none", { text: error.message }));
    }
  };
  element.addEventListener("toggle", show);
  state.on("history", show);
  return element;
}

export function historyDetails(state) {
  return loading("History", "history", state, async () => {
    const { edits } = await get(`/api/exams/${state.id}/history`);
    if (!edits.length) return h("p.none", { text: "Nobody has edited this exam." });
    const rows = [...edits].reverse().map(({ by, at, what, undone }) => h("li", { class: undone ? "undone" : "" }, h("span", { text: what }), h("span.by", { text: `${by}, ${moment(at)}${undone ? ", undone" : ""}` })));
    return h("ol.history", { reversed: true }, rows);
  });
}

/** Two readings slice by slice: the first one, the one now, and every approved version. */
export function compareDetails(state) {
  const choice = (label, value) => h("select", { "aria-label": label, data: { value }, on: { change: () => show() } });
  const [a, b] = [choice("First reading", "first"), choice("Second reading", "current")];
  const table = h("div");
  const show = async () => {
    const { slices } = await get(`/api/exams/${state.id}/compare?a=${a.value}&b=${b.value}`);
    fill(table, compared(state, slices));
  };
  return loading("Compare contours by slice", "compare", state, async () => {
    for (const select of [a, b]) {
      const chosen = select.value || select.dataset.value;
      const versions = state.versions.map(({ number, by }) => [String(number), `version ${number}, ${by}`]);
      fill(select, [["first", "first"], ["current", "now"], ...versions].map(([value, text]) => h("option", { value, text })));
      select.value = chosen;
    }
    await show();
    return [h("div.readings", {}, a, h("span", { text: "against" }), b), table];
  });
}

function compared(state, slices) {
  const head = ["Slice", "ED", "ED", "Dice", "ES", "ES", "Dice"];
  const byOrder = state.order.map((slice) => slices.find((entry) => entry.slice === slice)).filter(Boolean);
  const row = (entry) => [
    shown(entry.a_ml_ed, 1), shown(entry.b_ml_ed, 1), shown(entry.dice_ed, 2), shown(entry.a_ml_es, 1), shown(entry.b_ml_es, 1), shown(entry.dice_es, 2),
  ];
  return h(
    "table.compare",
    {},
    h("caption", { text: "Volume of each slice in ml: of the first reading, then of the second" }),
    h("thead", {}, h("tr", {}, head.map((text) => h("th", { scope: "col", text })))),
    h("tbody", {}, byOrder.map((entry) => h("tr", {}, h("th", { scope: "row", text: String(entry.slice) }), row(entry).map((text) => h("td", { text }))))),
  );
}

/** A time of the server as this machine shows times. */
export function moment(at) {
  return new Date(at).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}
