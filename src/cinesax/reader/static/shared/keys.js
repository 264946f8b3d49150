// The keyboard: one table defines the actions of keys and the help that `?` shows.

import { fill, h } from "./dom.js";

const named = { " ": "Space", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", Delete: "Del", Escape: "Esc" };
const mac = /Mac|iP(hone|ad)/.test(navigator.platform ?? "");

/** The name of a pressed key: "Mod+Shift+z". Mod is Ctrl, or the command key of a Mac. */
export function nameOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  // Shift is part of a sign such as "?" or "+": keyboards differ in where those lie.
  const sign = event.key.length === 1 && event.key.toLowerCase() === event.key.toUpperCase() && event.key !== " ";
  return [
    event.ctrlKey || event.metaKey ? "Mod" : "",
    event.altKey ? "Alt" : "",
    event.shiftKey && !sign ? "Shift" : "",
    key,
  ]
    .filter(Boolean)
    .join("+");
}

/** Keys of the page that is shown; a page sets its own and the last one goes. */
export class Keyboard {
  constructor() {
    this.groups = [];
    this.table = new Map();
    document.addEventListener("keydown", (event) => this.#pressed(event));
  }

  /**
   * @param groups [{name, keys: [[["n"], "Nudge circle", action], ...], each: [["n", action], ...]}]: `keys` stand in the
   *   help, and an action that is null only stands there; `each` are keys that share one line of the help
   */
  set(groups) {
    this.groups = groups.filter(({ keys }) => keys.length);
    this.table = new Map();
    for (const { keys, each = [] } of groups) {
      for (const [names, , action] of keys) if (action) for (const name of names) this.table.set(name, action);
      for (const [name, action] of each) this.table.set(name, action);
    }
  }

  /** Keys that work on every page. */
  always(name, action) {
    this.common ??= new Map();
    this.common.set(name, action);
  }

  #pressed(event) {
    if (event.defaultPrevented || event.isComposing) return;
    const typing = event.target.closest?.("input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, select");
    if (typing || document.querySelector("dialog[open]")) return;
    // Space and Enter on a focused button press that button.
    const control = event.target.closest?.("button, a, summary, input");
    if (control && (event.key === "Enter" || event.key === " ")) return;
    const action = this.table.get(nameOf(event)) ?? this.common?.get(nameOf(event));
    if (!action) return;
    event.preventDefault();
    action(event);
  }

  /** Show the help on all keys. */
  help(dialog) {
    const close = h("button", { type: "button", text: "Close", on: { click: () => dialog.close() } });
    fill(
      dialog,
      h("div.head", {}, h("h2", { id: "help-title", text: "Keys" }), close),
      h("div.keys", {}, this.groups.map(section)),
    );
    dialog.showModal();
  }
}

function section({ name, keys }) {
  const rows = keys.flatMap(([names, what]) => [
    h("dt", {}, names.flatMap((key, i) => [i ? " " : null, h("kbd", { text: readable(key) })])),
    h("dd", { text: what }),
  ]);
  return h("section", {}, h("h3", { text: name }), h("dl", {}, rows));
}

/** "Mod+Shift+z" as it stands on the keyboard: "Ctrl+Shift+Z". */
export function readable(key) {
  if (key === "+") return "+";
  return key
    .split("+")
    .map((part) => (part === "Mod" ? (mac ? "⌘" : "Ctrl") : (named[part] ?? (part.length === 1 ? part.toUpperCase() : part))))
    .join("+");
}
