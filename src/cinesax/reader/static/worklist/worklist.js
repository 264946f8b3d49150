// The worklist: all exams with their states and doubts, the most doubtful first.

import { ahead, get, post } from "../shared/api.js";
import { fill, h, say } from "../shared/dom.js";
import { DICE, NO_DICE, interval, whole, why } from "../shared/expected.js";
import { shown } from "../shared/numbers.js";
import { remembered } from "../shared/store.js";
import { adding } from "./add.js";
import { agreement } from "./agreement.js";
import { chooseSeries } from "./series.js";

const BUSY_MS = 1000;
const IDLE_MS = 5000;
const RESTING_MS = 80; // a pointer that only passes over a line does not stay as long

const STATES = {
  failed: "failed",
  waiting: "waiting",
  running: "running",
  done: "to look at",
  edited: "edited",
  approved: "approved",
  excluded: "excluded",
};

const COLUMNS = [
  { key: "doubt", label: "What to doubt", value: (exam) => exam.doubt ?? 0, down: true },
  { key: "name", label: "Exam", value: (exam) => exam.name.toLowerCase() },
  { key: "state", label: "State", value: (exam) => Object.keys(STATES).indexOf(exam.state) },
  { key: "ef", label: "EF %", value: (exam) => exam.ef_percent ?? -1, number: true },
  { key: "edv", label: "EDV ml", value: (exam) => exam.edv_ml ?? -1, number: true },
  { key: "esv", label: "ESV ml", value: (exam) => exam.esv_ml ?? -1, number: true },
  { key: "dice", label: "Predicted Dice", title: DICE, value: (exam) => dice(exam), number: true },
  { key: "updated", label: "Changed", value: (exam) => exam.updated_at ?? "", down: true },
];
const ORDER = ["name", "state", "ef", "edv", "esv", "dice", "doubt", "updated"];

export async function showWorklist(page) {
  const list = new Worklist(page);
  await list.open();
  return () => list.close();
}

class Worklist {
  constructor(page) {
    this.page = page;
    this.exams = [];
    this.version = null;
    this.sort = { key: "doubt", down: true };
    this.filter = "";
    this.rows = new Map(); // id -> {row, text}: a row that has not changed is not made again
  }

  async open() {
    const { page } = this;
    document.title = "Worklist · cinesax reader";
    page.setTitle("Worklist");
    this.search = h("input", { type: "search", placeholder: "Filter: name, state, doubt", "aria-label": "Filter", on: { input: () => this.#filtered() } });
    this.count = h("span.count", { role: "status" });
    this.add = adding(page, () => this.load(true));
    this.body = h("tbody");
    this.heads = ORDER.map((key) => this.#head(COLUMNS.find((column) => column.key === key)));
    this.table = h("table.worklist", { "aria-label": "Exams" }, h("thead", {}, h("tr", {}, this.heads, h("th", {}, h("span.out-of-sight", { text: "Actions" })))), this.body);
    this.empty = h("div.empty", { hidden: true });
    const compare = h("button.small", { type: "button", text: "First against now", title: "Bland-Altman plot of all edited exams", on: { click: () => agreement(page.dialog, page.message) } });
    this.compare = compare;
    fill(page.view, h("div.worklist-page", {}, h("div.tools", {}, this.search, this.count, h("span.room"), compare, this.add.buttons), this.table, this.empty, this.add.hint));
    page.keyboard.set([
      {
        name: "Worklist",
        keys: [
          [["ArrowDown", "j"], "Next exam", () => this.#step(1)],
          [["ArrowUp", "k"], "Exam before", () => this.#step(-1)],
          [["Enter"], "Open", null],
          [["/"], "Filter", () => this.search.focus()],
          [["a"], "Add an exam by its path", () => this.add.byPath()],
          [["t"], "Dark, light", null],
          [["?"], "These keys", null],
        ],
      },
    ]);
    this.search.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown" || event.key === "Enter") this.#step(1);
      else if (event.key === "Escape") {
        this.search.value = "";
        this.#filtered();
        this.search.blur();
      }
    });
    await this.load(true);
    this.#next();
    performance.mark("worklist");
  }

  #head(column) {
    const press = () => {
      const same = this.sort.key === column.key;
      this.sort = { key: column.key, down: same ? !this.sort.down : Boolean(column.down) };
      this.#show();
    };
    const button = h("button.plain", { type: "button", text: column.label, title: column.title, on: { click: press } });
    return h("th", { scope: "col", class: column.number ? "number" : "", data: { column: column.key } }, button);
  }

  async load(all = false) {
    const since = all || this.version === null ? "" : `?since=${this.version}`;
    try {
      const answer = await get(`/api/worklist${since}`);
      this.page.state("");
      if (this.closed) return;
      this.version = answer.version;
      if (!answer.exams) return;
      this.exams = answer.exams;
      this.showPatient = answer.show_patient;
      this.add.allowPaths(answer.can_add_paths);
      this.page.setTitle(answer.root ? `Worklist: ${answer.root}` : "Worklist");
      this.#show();
    } catch (error) {
      if (this.version === null) throw error;
      this.page.state(error.message, true);
    }
  }

  #next() {
    const busy = this.exams.some(({ state }) => state === "waiting" || state === "running");
    this.timer = setTimeout(async () => {
      await this.load();
      if (!this.closed) this.#next();
    }, busy ? BUSY_MS : IDLE_MS);
  }

  #filtered() {
    this.filter = this.search.value.trim().toLowerCase();
    this.#show();
  }

  #matches(exam) {
    const text = [exam.name, STATES[exam.state], exam.error, exam.by, exam.comment, ...exam.doubts, ...(exam.trust?.reasons ?? []), exam.patient?.name, exam.patient?.patient_id].join(" ").toLowerCase();
    return this.filter.split(/\s+/).every((word) => text.includes(word));
  }

  #show() {
    const column = COLUMNS.find(({ key }) => key === this.sort.key);
    const compare = (a, b) => {
      const [x, y] = [column.value(a), column.value(b)];
      const turn = this.sort.down ? -1 : 1;
      if (x !== y) return (x < y ? -1 : 1) * turn;
      // Of equal doubt, the least predicted Dice comes first, as on the page of a cohort.
      if (column.key === "doubt" && dice(a) !== dice(b)) return (dice(b) - dice(a)) * turn;
      return a.name.localeCompare(b.name, undefined, { numeric: true });
    };
    const kept = this.exams.filter((exam) => this.#matches(exam)).sort(compare);
    for (const head of this.heads) {
      const sorted = head.dataset.column === this.sort.key;
      head.setAttribute("aria-sort", sorted ? (this.sort.down ? "descending" : "ascending") : "none");
    }
    const focused = document.activeElement?.closest?.("tr")?.dataset.exam;
    const rows = kept.map((exam) => this.#row(exam));
    // The same rows in the same order stay where they are: nothing blinks, and the focus stays.
    if (rows.length !== this.body.children.length || rows.some((row, i) => this.body.children[i] !== row)) {
      this.body.replaceChildren(...rows);
      if (focused) this.body.querySelector(`[data-exam="${CSS.escape(focused)}"] a`)?.focus();
    }
    const all = this.exams.length === 1 ? "1 exam" : `${this.exams.length} exams`;
    say(this.count, this.exams.length ? (kept.length === this.exams.length ? all : `${kept.length} of ${all}`) : "");
    this.table.hidden = !this.exams.length;
    this.table.classList.toggle("no-dice", !this.exams.some(({ trust }) => trust));
    this.compare.hidden = !this.exams.some(({ state }) => state === "edited" || state === "approved");
    this.#tellEmpty(kept.length);
  }

  #tellEmpty(kept) {
    this.empty.hidden = kept > 0;
    if (kept) return;
    if (this.exams.length) fill(this.empty, h("h2", { text: "No exam matches the filter" }), h("p", { text: "Delete the text of the filter to see all exams." }));
    else fill(this.empty, h("h2", { text: "No exams yet" }), h("p", { text: "Drop the folder of an exam or a zip file here, or add an exam by its path. It is analyzed on this machine; no data leaves it." }));
  }

  #row(exam) {
    const text = JSON.stringify(exam);
    const old = this.rows.get(exam.id);
    if (old?.text === text) return old.row;
    const row = this.#made(exam);
    this.rows.set(exam.id, { row, text });
    // In place, so that a row with progress does not make the table jump.
    if (old?.row.isConnected) {
      const focus = old.row.contains(document.activeElement);
      old.row.replaceWith(row);
      if (focus) row.querySelector("a, button")?.focus();
    }
    return row;
  }

  #made(exam) {
    const open = ["done", "edited", "approved"].includes(exam.state);
    const name = open ? h("a", { href: `#/exam/${exam.id}`, text: exam.name }) : h("span", { text: exam.name });
    const who = exam.patient ? h("div.soft", { text: [exam.patient.name, exam.patient.patient_id, exam.patient.study_date].filter(Boolean).join(" · ") }) : null;
    const cells = [
      h("td.name", {}, name, who, exam.folder ? h("div.soft", { text: exam.folder }) : null),
      h("td", {}, this.#state(exam)),
      h("td.number", { data: { label: "EF %" } }, shown(exam.ef_percent, 1), below(exam)),
      h("td.number", { text: shown(exam.edv_ml), data: { label: "EDV ml" } }),
      h("td.number", { text: shown(exam.esv_ml), data: { label: "ESV ml" } }),
      h("td.number.dice", { class: exam.trust ? "" : "none", text: shown(exam.trust?.dice, 2), title: exam.trust ? DICE : NO_DICE, data: { label: "Predicted Dice" } }),
      h("td.doubts", {}, this.#doubts(exam), this.#reason(exam)),
      h("td.soft.when", { text: when(exam.updated_at) }),
      h("td.actions-cell", {}, this.#actions(exam)),
    ];
    const row = h("tr", { data: { exam: exam.id, state: exam.state } }, cells);
    // Who points at an exam will probably open it: the server reads it meanwhile. Not after the click that opens it: the
    // exam's page asks for it, and would take a second answer for a later state.
    if (open) {
      const leave = () => clearTimeout(this.resting);
      const enter = () => {
        leave();
        this.resting = setTimeout(() => ahead(`/api/exams/${exam.id}`), RESTING_MS);
      };
      row.addEventListener("pointerenter", enter);
      row.addEventListener("pointerleave", leave);
      row.addEventListener("click", leave);
    }
    if (open) row.addEventListener("click", (event) => !event.target.closest("a, button") && !String(getSelection()) && (location.hash = `#/exam/${exam.id}`));
    return row;
  }

  #state(exam) {
    const chip = h("span.chip-state", { class: exam.state, text: STATES[exam.state] ?? exam.state });
    const { progress } = exam;
    if (exam.state === "running" && progress?.total) {
      return h("div", {}, chip, h("progress", { max: String(progress.total), value: String(progress.done), "aria-label": "Progress" }));
    }
    return h("div", {}, chip, exam.by && exam.state !== "done" ? h("span.soft", { text: ` ${exam.by}` }) : null, exam.sent_back ? h("span.soft", { text: " sent back" }) : null);
  }

  #doubts(exam) {
    if (exam.state === "failed") return h("p.bad.whole", { text: exam.error ?? "The analysis failed." });
    if (exam.state === "excluded") return h("p.whole", { text: `Excluded: ${exam.reason ?? ""}` });
    const lines = [exam.changed, exam.sent_back ? exam.comment : null, ...exam.doubts].filter(Boolean);
    if (!lines.length) return [];
    const more = lines.length > 2 ? h("span.soft", { text: `and ${lines.length - 2} more`, title: lines.slice(2).join("\n") }) : null;
    return [...lines.slice(0, 2).map((line) => h("p", { text: line, title: line })), more];
  }

  /** The first reason to expect larger errors than usual: quiet, unless there is a finding about it. */
  #reason({ state, trust }) {
    if (!trust || state === "excluded" || !(trust.low || trust.reasons.length)) return null;
    const [first] = trust.reasons;
    return h("p.reason", { class: trust.low ? "" : "soft", text: trust.low ? whole(first) : first, title: whole(why(trust)) });
  }

  #actions(exam) {
    const act = (text, label, press) => h("button.small.plain", { type: "button", text, "aria-label": `${label}: ${exam.name}`, on: { click: press } });
    if (exam.state === "excluded") return act("Include", "Include again", () => this.#do(exam, "include"));
    if (exam.state === "running") return null;
    const again = act("Try again", "Analyze again", () => this.#do(exam, "analyze"));
    const series = act("Series", "Choose another series", () => chooseSeries(exam, this.page, (more) => this.#do(exam, "series", more)));
    const exclude = act("Exclude", "Exclude with a reason", () => this.#exclude(exam));
    // Corrections of a person would have no meaning with another series.
    return [exam.state === "failed" ? again : null, ["failed", "done"].includes(exam.state) ? series : null, exclude].filter(Boolean);
  }

  async #do(exam, what, more = {}) {
    try {
      await post(`/api/exams/${exam.id}/${what}`, { version: exam.version, by: remembered("reader") ?? "", ...more });
      await this.load(true);
    } catch (error) {
      this.page.message(error.message, true);
      await this.load(true);
    }
  }

  #exclude(exam) {
    const { dialog } = this.page;
    const reason = h("input", { type: "text", "aria-label": "Reason", placeholder: "Why the exam is excluded", maxlength: "300" });
    const submit = (event) => {
      event.preventDefault();
      if (!reason.value.trim()) return reason.focus();
      dialog.close();
      return this.#do(exam, "exclude", { reason: reason.value.trim() });
    };
    fill(dialog, h("h2", { id: "dialog-title", text: `Exclude ${exam.name}` }), h("form", { on: { submit } }, reason, h("div.actions", {}, h("button", { type: "button", text: "Cancel", on: { click: () => dialog.close() } }), h("button.primary", { type: "submit", text: "Exclude" }))));
    dialog.showModal();
    reason.focus();
  }

  #step(by) {
    const links = [...this.body.querySelectorAll("td.name a")];
    const at = links.indexOf(document.activeElement);
    links[Math.max(0, Math.min(links.length - 1, at < 0 ? 0 : at + by))]?.focus();
  }

  close() {
    this.closed = true;
    clearTimeout(this.timer);
    clearTimeout(this.resting);
    this.add.close();
  }
}

/** The predicted Dice; above all others where there is none. */
function dice(exam) {
  return exam.trust?.dice ?? 2;
}

/** The interval of EF, below EF; the head of the column is not read with it. */
function below({ trust }) {
  const found = interval(trust);
  return found && h("span.interval", { title: found.title }, h("span.out-of-sight", { text: `${found.percent} interval ` }), found.ends);
}

/** Today's times as times, others as dates. */
function when(at) {
  if (!at) return "";
  const date = new Date(at);
  const today = date.toDateString() === new Date().toDateString();
  return today ? date.toLocaleTimeString(undefined, { timeStyle: "short" }) : date.toLocaleDateString(undefined, { dateStyle: "medium" });
}
