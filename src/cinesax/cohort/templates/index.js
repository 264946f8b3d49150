"use strict";
(() => {
  const ROW = 30;
  const data = JSON.parse(document.getElementById("data").textContent);
  const at = Object.fromEntries(data.columns.map((name, index) => [name, index]));
  const rows = data.rows;
  const $ = (id) => document.getElementById(id);
  const get = (row, name) => row[at[name]];
  const hasValues = (row) => !["failed", "waiting", "excluded"].includes(get(row, "status"));
  const number = (value, digits) => (value === null || value === undefined ? "" : value.toFixed(digits));

  const inWords = (codes) => (codes || "").split(" ").filter(Boolean).map((code) => data.words[code] || code).join(", ");
  const reasonsInWords = (codes) => (codes || "").split(" ").filter(Boolean).map((code) => data.reasons[code] || code).join("; ");

  // Column of the list: title, cell, digits of numbers, explanation.
  const COLUMNS = [
    ["Exam", "exam"], ["Status", "status"],
    ["Doubt", "doubt", 1, "Typical error of EF in points (where none is predicted, 3 for each kind of warning), and 100 for each kind of error; 0 once approved"],
    ["Predicted Dice", "predicted_dice", 2, "Predicted Dice of the network's LV cavity with an expert's, by volume: 1 would be the same"],
    ["EF %", "ef_percent", 1, "The reader's if there is one, otherwise the network's"], ["Network EF %", "ef_network_percent", 1],
    ["EDV ml", "edv_ml", 0], ["ESV ml", "esv_ml", 0], ["Mass g", "lv_mass_g", 0], ["What to doubt", "doubts"], ["Report", "report"],
  ];
  const MEASURED = [["ef_percent", "EF", "%", 1], ["edv_ml", "EDV", "ml", 0], ["esv_ml", "ESV", "ml", 0], ["lv_mass_g", "Mass", "g", 0]];

  // Outliers: robust, so that they do not hide one another.
  const median = (values) => {
    const sorted = Float64Array.from(values).sort();
    const half = sorted.length >> 1;
    return sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  };
  const outliers = new Map();
  for (const [name] of MEASURED) {
    const values = rows.map((row) => get(row, name)).filter((value) => value !== null);
    if (values.length < 10) continue;
    const middle = median(values);
    const spread = 1.4826 * median(values.map((value) => Math.abs(value - middle)));
    if (!(spread > 0)) continue;
    rows.forEach((row, index) => {
      const value = get(row, name);
      if (value === null || Math.abs(value - middle) <= 3 * spread) return;
      const far = (value - middle) / spread;
      if (!outliers.has(index)) outliers.set(index, {});
      outliers.get(index)[name] = far;
    });
  }
  const ordinal = new Map(rows.map((row, index) => [row, index]));

  let sorted = { name: null, down: true };
  let shown = rows;
  let open = null;

  const text = rows.map((row) => ["exam", "status", "reason", "message", "doubts", "reader", "manufacturer", "scanner", "kind", "trust_reasons"]
    .map((name) => get(row, name) || "").join(" ").toLowerCase());

  function choose() {
    const words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
    const status = $("status").value;
    const only = $("only").checked;
    shown = rows.filter((row, index) => (!status || get(row, "status") === status) && (!only || outliers.has(index))
      && words.every((word) => text[index].includes(word)));
    if (sorted.name) {
      const place = at[sorted.name];
      const turn = sorted.down ? -1 : 1;
      shown = shown.map((row, index) => [row, index]).sort(([a, i], [b, j]) => {
        const x = a[place], y = b[place];
        if (x === null || y === null) return x === y ? i - j : x === null ? 1 : -1;
        return (x < y ? -turn : x > y ? turn : 0) || i - j;
      }).map(([row]) => row);
    }
    $("shown").textContent = `${shown.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`;
    $("room").style.height = `${shown.length * ROW}px`;
    $("scroll").scrollTop = 0;
    draw();
  }

  function cell(row, [, name, digits]) {
    const box = document.createElement("span");
    const value = get(row, name);
    if (name === "report") {
      if (value) {
        const link = document.createElement("a");
        link.href = value;
        link.textContent = "open";
        link.addEventListener("click", (event) => event.stopPropagation());
        box.append(link);
      }
      return box;
    }
    if (digits !== undefined) {
      box.className = "n";
      box.textContent = name === "doubt" && !hasValues(row) ? "" : number(value, digits);
      const odd = outliers.get(ordinal.get(row));
      if (odd && name in odd) box.classList.add("odd");
      return box;
    }
    if (name === "status") box.className = `s-${value}`;
    if (name === "doubts" && !get(row, "reason")) {
      box.textContent = inWords(value);
      box.title = value || "";
      return box;
    }
    box.textContent = name === "doubts" ? `${get(row, "reason")}: ${get(row, "message") || ""}` : value || "";
    box.title = box.textContent;
    return box;
  }

  // Only the rows in sight are in the document.
  function draw() {
    const scroll = $("scroll");
    const first = Math.max(0, Math.floor(scroll.scrollTop / ROW) - 5);
    const last = Math.min(shown.length, Math.ceil((scroll.scrollTop + scroll.clientHeight) / ROW) + 5);
    const seen = $("seen");
    seen.style.transform = `translateY(${first * ROW}px)`;
    seen.replaceChildren(...shown.slice(first, last).map((row) => {
      const line = document.createElement("div");
      line.className = row === open ? "row open" : "row";
      line.append(...COLUMNS.map((column) => cell(row, column)));
      line.addEventListener("click", () => detail(row));
      return line;
    }));
  }

  function detail(row) {
    open = row;
    const box = $("detail");
    box.hidden = false;
    const list = document.createElement("dl");
    const tell = (name, value) => {
      if (value === null || value === undefined || value === "") return;
      const term = document.createElement("dt");
      const description = document.createElement("dd");
      term.textContent = name;
      description.append(value);
      list.append(term, description);
    };
    tell("Exam", get(row, "exam"));
    tell("Status", get(row, "status") + (get(row, "outdated") ? ", outdated: files, options, network, calibration or version of cinesax are newer" : "")
      + (get(row, "input_missing") ? ", the exam itself was not found in the last run" : ""));
    tell("Why it failed", get(row, "reason") && `${get(row, "reason")} (exit code ${get(row, "exit_code")}): ${get(row, "message")}`);
    for (const [name, title, unit, digits] of MEASURED) tell(title, get(row, name) === null ? null : `${number(get(row, name), digits)} ${unit}`);
    const both = [get(row, "ef_network_percent"), get(row, "ef_reader_percent")];
    if (both[1] !== null) tell("EF by network, by reader", `${number(both[0], 1)} %, ${number(both[1], 1)} %`);
    tell("Reader", get(row, "reader"));
    const has = (name) => get(row, name) !== null;
    tell("Predicted Dice", has("predicted_dice") ? number(get(row, "predicted_dice"), 2) : null);
    tell("Typical error of EF", has("ef_error_points") ? `${number(get(row, "ef_error_points"), 1)} points` : null);
    if (has("ef_low_percent") && has("ef_high_percent")) {
      tell("EF of the network", `${number(both[0], 1)} %, interval ${number(get(row, "ef_low_percent"), 1)} to ${number(get(row, "ef_high_percent"), 1)} %`);
    }
    tell("Larger errors expected", reasonsInWords(get(row, "trust_reasons")));
    tell("To doubt", inWords(get(row, "doubts")));
    const odd = outliers.get(ordinal.get(row));
    if (odd) {
      tell("Outlier", MEASURED.filter(([name]) => name in odd).map(([name, title]) => `${title}, ${Math.abs(odd[name]).toFixed(1)} robust `
        + `standard deviations ${odd[name] < 0 ? "below" : "above"} the median`).join("; "));
    }
    tell("Network", get(row, "network_version"));
    tell("Stack", get(row, "slices") && `${get(row, "slices")} slices, ${get(row, "phases")} phases`);
    tell("Scanner", [get(row, "manufacturer"), get(row, "scanner")].filter(Boolean).join(" "));
    if (get(row, "report")) {
      const link = document.createElement("a");
      link.href = get(row, "report");
      link.textContent = "report";
      tell("Open", link);
    }
    if (!["failed", "waiting"].includes(get(row, "status"))) {
      const code = document.createElement("code");
      code.textContent = "cinesax view RESULTS";
      code.title = `RESULTS: the folder of this page. The exam is ${get(row, "exam")} there`;
      tell("To correct it", code);
    }
    box.replaceChildren(list);
    if (get(row, "picture")) {
      const picture = document.createElement("img");
      picture.alt = "ED and ES of a slice in the middle of the ventricle";
      picture.addEventListener("error", () => picture.remove());
      picture.src = get(row, "picture");
      box.prepend(picture);
    }
    draw();
    box.scrollIntoView({ block: "nearest" });
  }

  function head() {
    $("head").replaceChildren(...COLUMNS.map(([title, name, digits, explanation]) => {
      const box = document.createElement("span");
      if (digits !== undefined) box.className = "n";
      const button = document.createElement("button");
      button.type = "button";
      if (explanation) button.title = explanation;
      button.textContent = title + (sorted.name === name ? (sorted.down ? " ▾" : " ▴") : "");
      button.addEventListener("click", () => {
        sorted = sorted.name === name ? { name, down: !sorted.down } : { name, down: digits !== undefined };
        head();
        choose();
      });
      box.append(button);
      return box;
    }));
  }

  const far = [...outliers].map(([index, odd]) => [rows[index], Object.entries(odd).sort(([, a], [, b]) => Math.abs(b) - Math.abs(a))[0]])
    .sort(([, [, a]], [, [, b]]) => Math.abs(b) - Math.abs(a)).slice(0, 10);
  $("outlying").replaceChildren(...far.map(([row, [name]]) => {
    const [, title, unit, digits] = MEASURED.find(([one]) => one === name);
    const line = document.createElement("tr");
    const first = document.createElement("td");
    const button = document.createElement("button");
    button.type = "button";
    button.className = "link";
    button.textContent = get(row, "exam");
    button.addEventListener("click", () => detail(row));
    first.append(button);
    const second = document.createElement("td");
    second.textContent = `${title} ${number(get(row, name), digits)} ${unit}`;
    line.append(first, second);
    return line;
  }));
  if (!far.length) $("outlying").outerHTML = '<p class="note">None.</p>';

  $("scroll").addEventListener("scroll", () => requestAnimationFrame(draw));
  $("scroll").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !shown.length) return;
    event.preventDefault();
    const next = Math.min(Math.max(shown.indexOf(open) + step, 0), shown.length - 1);
    const scroll = $("scroll");
    if (next * ROW < scroll.scrollTop) scroll.scrollTop = next * ROW;
    if ((next + 1) * ROW > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = (next + 1) * ROW - scroll.clientHeight;
    detail(shown[next]);
  });
  $("find").addEventListener("input", choose);
  $("status").addEventListener("change", choose);
  $("only").addEventListener("change", choose);
  for (const button of document.querySelectorAll("[data-status]")) button.addEventListener("click", () => { $("status").value = button.dataset.status; choose(); });
  for (const button of document.querySelectorAll("[data-reason]")) button.addEventListener("click", () => { $("find").value = button.dataset.reason; choose(); });
  for (const button of document.querySelectorAll("[data-find]")) button.addEventListener("click", () => { $("find").value = button.dataset.find; choose(); });
  head();
  choose();
})();
