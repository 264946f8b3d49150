// The keys of the exam page, as the keyboard and the help read them.

export function examKeys({ actions: a, state, player, tools, sign, back }) {
  const nudge = tools.nudge;
  const step = (phase) => () => {
    player.stop();
    state.go({ phase: state.phase + phase });
  };
  return [
    {
      name: "Look",
      keys: [
        [[" "], "Play, pause", () => player.toggle()],
        [["ArrowLeft", "ArrowRight"], "Phase before, after", null],
        [["ArrowUp", "ArrowDown"], "Slice towards base, apex", null],
        [["e", "s"], "Go to ED, to ES", null],
        [["+", "-"], "Zoom in, out", null],
        [["z", "0"], "Zoom to the heart, to all", null],
        [["o"], "Contours on, off", () => a.toggleContours()],
        [["f"], "First against present contours", () => a.toggleFirst()],
        [["w"], "Window and level as at first", () => a.resetWindow()],
        [["wheel"], "Slices; with Shift phases; with Ctrl zoom", null],
        [["right drag"], "Window and level", null],
      ],
    },
    {
      name: "Tools",
      keys: [
        [["v"], "Look (drag moves the image)", () => a.use("look")],
        [["n"], "Nudge circle (wheel sizes it, Alt pulls)", () => a.use("nudge")],
        [["p"], "Points of a spline", () => a.use("points")],
        [["d"], "Draw freehand", () => a.use("draw")],
        [["q"], "Nudge: push or pull", () => nudge.setPull(!nudge.pull)],
        [["[", "]"], "Nudge circle smaller, larger", null],
        [["1", "2", "3", "4"], "Cavity, wall, RV, papillary muscles", null],
      ],
    },
    {
      name: "Correct",
      keys: [
        [["Delete"], "Delete in this frame (or the chosen point)", () => a.delete("frame")],
        [["Shift+Delete"], "Delete in this slice, all phases", () => a.delete("slice")],
        [["Mod+Delete"], "Delete in this slice and all beyond, all phases", () => a.delete("beyond")],
        [["Alt+Delete"], "Delete the chosen contour only", () => a.deleteContour()],
        [["c", "Shift+c"], "Copy to the phase after, before", null],
        [["x", "Shift+x"], "Copy to the slice below, above", null],
        [["i", "Shift+i"], "Interpolate between edited phases, slices", null],
        [[",", "."], "Shrink, grow", null],
        [["Alt+arrows"], "Shift by half a pixel", null],
        [["b", "Shift+b"], "The base ends here at ED, at ES", null],
        [["Shift+e", "Shift+s"], "Set ED, ES to this phase", null],
        [["m"], "Papillary muscles in or out of the cavity", () => a.papillary()],
        [["Mod+z"], "Undo", () => a.undo()],
        [["Mod+Shift+z", "Mod+y"], "Redo", () => a.redo()],
      ],
    },
    {
      name: "Page",
      keys: [
        [["a"], "Sign: name, comment, approve", () => sign.focus()],
        [["Escape"], "Look; from there back to the worklist", () => (state.tool === "look" ? back() : a.use("look"))],
        [["t"], "Dark, light", null],
        [["?"], "These keys", null],
      ],
    },
    {
      name: "",
      keys: [],
      each: [
        ["ArrowLeft", step(-1)],
        ["ArrowRight", step(1)],
        ["ArrowUp", () => state.goRow(-1)],
        ["ArrowDown", () => state.goRow(1)],
        ["e", () => a.goTo("ed")],
        ["s", () => a.goTo("es")],
        ["+", () => a.stage.zoomBy(1.25)],
        ["=", () => a.stage.zoomBy(1.25)],
        ["-", () => a.stage.zoomBy(0.8)],
        ["z", () => a.zoomToHeart()],
        ["0", () => a.zoomToAll()],
        ["[", () => nudge.setRadius(nudge.radius / 1.15)],
        ["]", () => nudge.setRadius(nudge.radius * 1.15)],
        ...state.structures.map(({ key, label }) => [String(label), () => a.chooseStructure(key)]),
        ["c", () => a.copyToPhase(1)],
        ["Shift+c", () => a.copyToPhase(-1)],
        ["x", () => a.copyToSlice(1)],
        ["Shift+x", () => a.copyToSlice(-1)],
        ["i", () => a.interpolatePhases()],
        ["Shift+i", () => a.interpolateSlices()],
        [",", () => a.grow(-1)],
        [".", () => a.grow(1)],
        ["Alt+ArrowLeft", () => a.shift(-0.5, 0)],
        ["Alt+ArrowRight", () => a.shift(0.5, 0)],
        ["Alt+ArrowUp", () => a.shift(0, -0.5)],
        ["Alt+ArrowDown", () => a.shift(0, 0.5)],
        // A Mac has no Del key.
        ["Backspace", () => a.delete("frame")],
        ["Shift+Backspace", () => a.delete("slice")],
        ["Mod+Backspace", () => a.delete("beyond")],
        ["Alt+Backspace", () => a.deleteContour()],
        ["b", () => a.baseEndsHere("ed")],
        ["Shift+b", () => a.baseEndsHere("es")],
        ["Shift+e", () => a.setPhase("ed", state.phase)],
        ["Shift+s", () => a.setPhase("es", state.phase)],
      ],
    },
  ];
}
