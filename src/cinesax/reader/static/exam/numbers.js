// The present numbers, the first ones, and the change.

import { fill, h, say } from "../shared/dom.js";
import { change, shown } from "../shared/numbers.js";

const LV = [
  ["EF", "%", "ef_percent", 1, "Ejection fraction"],
  ["EDV", "ml", "edv_ml", 0, "End-diastolic volume"],
  ["ESV", "ml", "esv_ml", 0, "End-systolic volume"],
  ["SV", "ml", "sv_ml", 0, "Stroke volume"],
  ["Mass", "g", "lv_mass_g", 0, "Mass of the wall at end diastole"],
  ["CO", "l/min", "cardiac_output_l_per_min", 1, "Cardiac output"],
];
const RV = LV.slice(0, 4);

export class Numbers {
  constructor(state) {
    this.state = state;
    this.rows = [];
    this.table = h("table.numbers", { "aria-label": "Numbers" });
    this.#build();
    state.on("numbers", () => this.update());
  }

  #build() {
    const { numbers, first } = this.state;
    this.hasRv = Boolean(numbers.chambers?.rv ?? first.chambers?.rv);
    this.rows = [];
    const head = h("tr", {}, ["", "Now", "First", "Change"].map((text) => h("th", { scope: "col", text })));
    const lv = LV.filter(([, , key]) => numbers[key] !== null || first[key] !== null || key === "ef_percent");
    const body = lv.map((row) => this.#row(row, (values) => values));
    if (this.hasRv) body.push(...RV.map((row) => this.#row([`RV ${row[0]}`, ...row.slice(1)], (values) => values.chambers?.rv)));
    fill(this.table, h("thead", {}, head), h("tbody", {}, body));
    this.update();
  }

  #row([name, unit, key, digits, words], of) {
    const cells = { now: h("td.now", { data: { value: name } }), first: h("td.first"), change: h("td.change") };
    this.rows.push({ key, digits, of, cells });
    return h("tr", {}, h("th", { scope: "row", title: words }, name, " ", h("span.unit", { text: unit })), Object.values(cells));
  }

  update() {
    const { shown: numbers, first } = this.state;
    if (Boolean(numbers.chambers?.rv) && !this.hasRv) {
      this.#build();
      return;
    }
    for (const { key, digits, of, cells } of this.rows) {
      const [now, before] = [of(numbers)?.[key], of(first)?.[key]];
      say(cells.now, shown(now, digits));
      say(cells.first, shown(before, digits));
      say(cells.change, change(now, before, digits));
    }
  }
}
