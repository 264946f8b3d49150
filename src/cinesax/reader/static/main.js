// The shell: which page is shown, theme, help, messages.

import { showExam } from "./exam/exam.js";
import { fill, h, say } from "./shared/dom.js";
import { Keyboard } from "./shared/keys.js";
import { remember, remembered } from "./shared/store.js";
import { showWorklist } from "./worklist/worklist.js";

const MESSAGE_MS = 6000;
const byId = (id) => document.getElementById(id);

const title = h("h1", { text: "" });
const patient = h("span.patient");
const help = h("button.plain", { type: "button", title: "Keys (?)", "aria-label": "Keys", text: "?", on: { click: showHelp } });
const theme = h("button.plain", { type: "button", title: "Dark or light (T)", "aria-label": "Dark or light", text: "◐", on: { click: changeTheme } });
const brand = h("a.brand", { href: "#/", text: "cinesax", title: "Worklist" });
fill(byId("bar"), brand, title, patient, h("span.room"), theme, help);

const keyboard = new Keyboard();
keyboard.always("?", showHelp);
keyboard.always("t", changeTheme);

const page = {
  view: byId("view"),
  keyboard,
  windowId: crypto.randomUUID?.() ?? String(Math.random()).slice(2),
  dialog: byId("dialog"),
  setTitle(text, who = "") {
    say(title, text);
    say(patient, who);
  },
  /** One line at the bottom; a repeated one is not stacked. */
  message(text, bad = false) {
    const messages = byId("messages");
    [...messages.children].filter((child) => child.textContent === text).forEach((child) => child.remove());
    const element = h("div.message", { class: bad ? "bad" : "", text, on: { click: () => element.remove() } });
    messages.append(element);
    setTimeout(() => element.remove(), MESSAGE_MS + 40 * text.length);
  },
  state(text, bad = false) {
    say(byId("state"), text);
    byId("state").classList.toggle("bad", bad);
  },
  /** A line below the bar that stays until it is set to null. */
  notice(name, text, ...actions) {
    const notices = byId("notices");
    const old = notices.querySelector(`[data-notice="${name}"]`);
    if (!text) old?.remove();
    else if (old?.firstChild.textContent !== text) {
      old?.remove();
      notices.append(h("div.notice", { data: { notice: name } }, h("span", { text }), h("span.room"), actions));
    }
  },
};

function showHelp() {
  keyboard.help(byId("help"));
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  remember("theme", name);
  window.dispatchEvent(new Event("cinesax-theme"));
}

function changeTheme() {
  setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
}

let end = () => {};
let turn = 0;

/** #/ is the worklist, #/exam/ID an exam. */
async function show() {
  const mine = ++turn;
  end();
  end = () => {};
  keyboard.set([]);
  fill(byId("notices"));
  const exam = location.hash.match(/^#\/exam\/([\w-]+)$/);
  try {
    const made = await (exam ? showExam(exam[1], page) : showWorklist(page));
    if (mine === turn) end = made;
    else made();
  } catch (error) {
    if (mine !== turn || error.name === "AbortError") return;
    if (exam && error.code === "busy") {
      // The exam waits, runs or has failed: the worklist shows which.
      location.hash = "#/";
      page.message(error.message, true);
      return;
    }
    page.setTitle("");
    const again = h("button.primary", { type: "button", text: "Try again", on: { click: show } });
    fill(page.view, h("div.empty", {}, h("h2", { text: "This page could not be loaded" }), h("p", { text: error.message }), h("p", {}, again, " ", h("a.button", { href: "#/", text: "Worklist" }))));
  }
}

if (remembered("theme") === "light") setTheme("light");
window.addEventListener("hashchange", show);
show();
