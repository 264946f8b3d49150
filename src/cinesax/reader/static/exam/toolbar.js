// The controls around the large frame: tools, structures, playback, corrections.

import { h, icon, say } from "../shared/dom.js";
import { parsed } from "../shared/numbers.js";

const ICONS = {
  look: ["M3 10s2.6-5 7-5 7 5 7 5-2.6 5-7 5-7-5-7-5Z", "M10 8a2 2 0 1 1 0 4 2 2 0 0 1 0-4Z"],
  nudge: ["M12.5 3.5a5 5 0 1 1 0 10 5 5 0 0 1 0-10Z", "M2 17c2-1 3.5-3 4.5-6"],
  points: ["M4 13C4 5 16 5 16 11c0 6-12 8-12 2Z", "M4 11.5v3M2.5 13h3M16 9.5v3M14.5 11h3"],
  draw: ["M3 17l1-4L13.5 3.5a1.8 1.8 0 0 1 3 3L7 16l-4 1Z"],
  undo: ["M8 4 4 8l4 4", "M4 8h8a4 4 0 0 1 0 8H8"],
  redo: ["M12 4l4 4-4 4", "M16 8H8a4 4 0 0 0 0 8h4"],
  play: ["M6 4l10 6-10 6V4Z"],
  pause: ["M6 4v12M14 4v12"],
  first: ["M10 4a6 6 0 1 1-6 6", "M4 4v4h4", "M10 7v3l2 2"],
  contours: ["M10 3.5c4 0 6 3 6 6.5s-2 6.5-6 6.5-6-3-6-6.5 2-6.5 6-6.5Z", "M10 7.5a2.5 2.5 0 1 1 0 5 2.5 2.5 0 0 1 0-5Z"],
};

function button(name, label, title, press) {
  return h("button.tool", { type: "button", title, "aria-label": title, data: { action: name }, on: { click: press } }, icon(...ICONS[name]), h("span", { text: label }));
}

/** The strip left of the frame: tools, undo and redo, playback. */
export function toolStrip({ actions, state, player }) {
  const tools = [
    ["look", "Look", "Look: drag moves the image (V)"],
    ["nudge", "Nudge", "Nudge circle: push or pull the contour (N)"],
    ["points", "Points", "Points of a spline: move, add, remove (P)"],
    ["draw", "Draw", "Draw the contour freehand (D)"],
  ].map(([name, label, title]) => button(name, label, title, () => actions.use(name)));
  const undo = button("undo", "Undo", "Undo", () => actions.undo());
  const redo = button("redo", "Redo", "Redo", () => actions.redo());
  const play = button("play", "Play", "Play or pause (Space)", () => player.toggle());
  const first = button("first", "First", "First against present contours (F)", () => actions.toggleFirst());
  const contours = button("contours", "Lines", "Contours on or off (O)", () => actions.toggleContours());
  state.on("tool", () => tools.forEach((tool) => tool.setAttribute("aria-pressed", String(tool.dataset.action === state.tool))));
  state.on("view contours", () => {
    first.setAttribute("aria-pressed", String(state.showing === "first"));
    contours.setAttribute("aria-pressed", String(!state.hidden));
  });
  contours.setAttribute("aria-pressed", "true");
  state.on("playing", () => {
    play.replaceChild(icon(...ICONS[state.playing ? "pause" : "play"]), play.firstChild);
    say(play.lastChild, state.playing ? "Pause" : "Play");
  });
  const past = () => {
    undo.disabled = !state.history.undo;
    redo.disabled = !state.history.redo;
    undo.title = `Undo${state.history.undo ? `: ${state.history.undo}` : ""} (Ctrl+Z)`;
    redo.title = `Redo${state.history.redo ? `: ${state.history.redo}` : ""} (Ctrl+Shift+Z)`;
  };
  state.on("history", past);
  past();
  return h("div.strip", { role: "toolbar", "aria-label": "Tools", "aria-orientation": "vertical" }, tools, h("hr"), undo, redo, h("hr"), play, first, contours);
}

/** Above the frame: the structure to correct, the present place, and the size of the circle. */
export function structureBar({ actions, state, tools }) {
  const chips = state.structures
    .filter(({ key, known }) => key !== "papillary_muscles" || known || state.hasPapillary)
    .map(({ key, name, color, label }) => {
      const dot = h("span.dot");
      dot.style.background = color;
      const short = { cavity: "Cavity", myocardium: "Wall", rv_cavity: "RV", papillary_muscles: "Papillary" }[key] ?? name;
      return h("button.chip", { type: "button", role: "radio", title: `${name} (${label})`, data: { structure: key }, on: { click: () => actions.chooseStructure(key) } }, dot, short);
    });
  const pick = () => chips.forEach((chip) => chip.setAttribute("aria-checked", String(chip.dataset.structure === state.structure)));
  state.on("structure", pick);
  pick();
  const place = h("span.place", { id: "place", role: "status" });
  const where = () => {
    const shown = state.frameAt(state.phase, state.slice);
    const origin = shown.empty ? (shown.origin === "edited" ? "no contour, by a person" : "no contour") : (shown.origin ?? "");
    const time = state.exam.times_ms?.[state.phase];
    say(place, `Slice ${state.slice}, phase ${state.phase}${time === undefined || time === null ? "" : ` (${Math.round(time)} ms)`} · ${origin}${state.isApproved(shown) ? ", approved" : ""}`);
  };
  state.on("place contours view", where);
  where();
  return h("div.structures", {}, h("div.chips", { role: "radiogroup", "aria-label": "Structure to correct" }, chips), nudgeOptions(state, tools.nudge), h("span.room"), place);
}

function nudgeOptions(state, nudge) {
  const size = h("input", { type: "range", min: "1", max: "40", step: "0.5", "aria-label": "Size of the nudge circle", on: { input: () => nudge.setRadius(Number(size.value)) } });
  const pull = h("button.small", { type: "button", text: "Pull", title: "Pull instead of push (Q; Alt for a moment)", on: { click: () => nudge.setPull(!nudge.pull) } });
  const options = h("div.options", { hidden: true }, size, pull);
  const update = () => {
    size.value = String(nudge.radius);
    pull.setAttribute("aria-pressed", String(nudge.pull));
    options.hidden = state.tool !== "nudge";
  };
  state.on("tool radius", update);
  update();
  return options;
}

/** Below the frame: the corrections of its contours. */
export function actionBar({ actions: a, state }) {
  const small = (text, title, press, id) => h("button.small", { type: "button", text, title, id: id ?? null, on: { click: press } });
  const group = (name, ...buttons) => h("div.group", { role: "group", "aria-label": name }, h("span.name", { text: name, "aria-hidden": "true" }), buttons);
  const step = h("input.step", {
    type: "text", inputmode: "decimal", value: "1", "aria-label": "Step in mm", title: "Step of grow and shrink, in mm",
    on: {
      change: () => {
        const value = parsed(step.value);
        if (value !== null && value > 0 && value <= 20) a.stepMm = value;
        step.value = String(a.stepMm);
      },
    },
  });
  const muscles = small("", "Papillary muscles count as blood or not (M)", () => a.papillary(), "papillary");
  const convention = () => {
    muscles.hidden = !state.hasPapillary;
    say(muscles, state.papillaryIncluded ? "Papillary: in" : "Papillary: out");
  };
  state.on("history", convention);
  convention();
  return h(
    "div.corrections",
    { role: "toolbar", "aria-label": "Corrections" },
    group("Delete", small("Frame", "No LV (or RV) in this frame (Del)", () => a.delete("frame"), "delete-frame"), small("All phases", "No LV (or RV) in this slice, at all phases (Shift+Del)", () => a.delete("slice"), "delete-slice"), small("And beyond", "No LV (or RV) in this slice and all beyond it, at all phases (Ctrl+Del)", () => a.delete("beyond"), "delete-beyond")),
    group("Base ends here", small("at ED", "This slice is the last one at the base, at end diastole (B)", () => a.baseEndsHere("ed"), "base-ed"), small("at ES", "This slice is the last one at the base, at end systole (Shift+B)", () => a.baseEndsHere("es"), "base-es")),
    group("Shift", ...[["←", -0.5, 0], ["↑", 0, -0.5], ["↓", 0, 0.5], ["→", 0.5, 0]].map(([text, dx, dy]) => small(text, "Shift by half a pixel (Alt and arrow)", () => a.shift(dx, dy)))),
    group("Copy to", small("Next phase", "Copy the contour to the next phase (C)", () => a.copyToPhase(1)), small("Next slice", "Copy the contour to the next slice (X)", () => a.copyToSlice(1))),
    group("Interpolate", small("Phases", "Between the edited phases of this slice (I)", () => a.interpolatePhases(), "interpolate-phases"), small("Slices", "Between the edited slices of this phase (Shift+I)", () => a.interpolateSlices(), "interpolate-slices")),
    group("Size", small("−", "Shrink (,)", () => a.grow(-1), "shrink"), step, h("span.unit", { text: state.exam.spacing_mm ? "mm" : "px" }), small("+", "Grow (.)", () => a.grow(1), "grow")),
    muscles,
  );
}

/** What the bars in the grid mean. */
export function legend() {
  const entry = (name, text) => h("span.entry", {}, h("i", { class: `bar-${name}`, "aria-hidden": "true" }), text);
  return h("p.legend", {}, entry("network", "network"), entry("interpolated", "interpolated"), entry("edited", "edited"), entry("removed", "removed"), entry("approved", "approved"));
}

/** ED and ES: set to the present phase, or from the curve again. */
export function phaseBar({ actions: a, state }) {
  const small = (text, title, press, id) => h("button.small", { type: "button", text, title, id, on: { click: press } });
  const curve = small("From curve", "ED and ES where the volume is largest and smallest", () => a.phasesFromCurve(), "phases-curve");
  // Invisible, but it keeps its space, so that the content below does not jump.
  const update = () => curve.classList.toggle("unused", state.overrides.ed_phase === null && state.overrides.es_phase === null);
  state.on("numbers", update);
  update();
  return h("div.phases", {}, h("h2", { text: "Volume" }), h("span.room"), curve, small("ED here", "This phase is end diastole (Shift+E)", () => a.setPhase("ed", state.phase), "set-ed"), small("ES here", "This phase is end systole (Shift+S)", () => a.setPhase("es", state.phase), "set-es"));
}

