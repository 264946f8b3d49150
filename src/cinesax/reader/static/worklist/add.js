// Adding exams: by path, or by dropping a folder or zip on the page.

import { post, send } from "../shared/api.js";
import { fill, h } from "../shared/dom.js";

/**
 * @param page the shell
 * @param added called when exams were added
 * @returns {buttons, hint, byPath, allowPaths, close}
 */
export function adding(page, added) {
  const path = h("button", { type: "button", text: "Add by path…", title: "A folder, zip or file on this machine (A)", on: { click: byPath } });
  const zips = h("input", { type: "file", accept: ".zip,application/zip", hidden: true, id: "choose-zip", on: { change: () => take([...zips.files].map((file) => ({ file }))) } });
  const folder = h("input", { type: "file", webkitdirectory: true, hidden: true, id: "choose-folder", on: { change: () => take([...folder.files].map((file) => ({ file, inFolder: true }))) } });
  folder.setAttribute("webkitdirectory", "");
  const zip = h("button", { type: "button", text: "Zip…", on: { click: () => zips.click() } });
  const whole = h("button", { type: "button", text: "Folder…", on: { click: () => folder.click() } });
  const hint = h("p.drop-hint", { text: "Drop the folder of an exam or a zip file anywhere on this page to add it." });
  const veil = h("div.veil", { hidden: true, "aria-hidden": "true" }, h("p", { text: "Drop to add" }));
  document.body.append(veil);

  function byPath() {
    const { dialog } = page;
    const input = h("input", { type: "text", "aria-label": "Path", placeholder: "/data/exams/case-1", spellcheck: false, autocomplete: "off" });
    const line = h("p.bad", { role: "alert" });
    const submit = async (event) => {
      event.preventDefault();
      if (!input.value.trim()) return;
      try {
        const answer = await post("/api/exams", { path: input.value.trim() });
        dialog.close();
        say(answer);
      } catch (error) {
        line.textContent = error.message;
      }
    };
    fill(
      dialog,
      h("h2", { id: "dialog-title", text: "Add by path" }),
      h("form", { on: { submit } }, h("p.soft", { text: "The folder, zip or file of an exam, a folder of results, or a folder of exams." }), input, line, h("div.actions", {}, h("button", { type: "button", text: "Cancel", on: { click: () => dialog.close() } }), h("button.primary", { type: "submit", text: "Add" }))),
    );
    dialog.showModal();
    input.focus();
  }

  function say({ added: ids }) {
    page.message(ids.length === 1 ? "One exam added." : `${ids.length} exams added.`);
    added();
  }

  /** Files as {file, inFolder}; zips one by one, the rest together as one folder. */
  async function take(entries) {
    if (!entries.length) return;
    const isZip = ({ file, inFolder }) => !inFolder && /\.zip$/i.test(file.name);
    try {
      for (const { file } of entries.filter(isZip)) {
        page.state(`Uploading ${file.name}…`);
        say(await send("POST", "/api/uploads/zip", file, "application/zip"));
      }
      const rest = entries.filter((entry) => !isZip(entry));
      if (rest.length) say(await upload(rest));
    } catch (error) {
      page.message(error.message, true);
    }
    page.state("");
    zips.value = folder.value = "";
  }

  async function upload(entries) {
    const { upload: id } = await post("/api/uploads");
    for (const [number, { file }] of entries.entries()) {
      page.state(`Uploading file ${number + 1} of ${entries.length}…`);
      await send("PUT", `/api/uploads/${id}/files/${number}`, file, "application/octet-stream");
    }
    return post(`/api/uploads/${id}/finish`);
  }

  const over = (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    veil.hidden = false;
  };
  const out = (event) => {
    if (event.relatedTarget === null) veil.hidden = true;
  };
  const drop = async (event) => {
    event.preventDefault();
    veil.hidden = true;
    await take(await dropped(event.dataTransfer));
  };
  document.addEventListener("dragover", over);
  document.addEventListener("dragleave", out);
  document.addEventListener("drop", drop);

  return {
    buttons: h("span.add", {}, path, zip, whole, zips, folder),
    hint,
    byPath: () => !path.hidden && byPath(),
    allowPaths: (allowed) => (path.hidden = !allowed),
    close() {
      veil.remove();
      document.removeEventListener("dragover", over);
      document.removeEventListener("dragleave", out);
      document.removeEventListener("drop", drop);
    },
  };
}

/** All dropped files, with those in folders. */
async function dropped(transfer) {
  const items = [...transfer.items].map((item) => item.webkitGetAsEntry?.() ?? null);
  if (!items.some((entry) => entry?.isDirectory)) return [...transfer.files].map((file) => ({ file }));
  const files = [];
  for (const entry of items.filter(Boolean)) await walk(entry, entry.isDirectory, files);
  return files;
}

async function walk(entry, inFolder, files) {
  if (entry.isFile) {
    files.push({ file: await new Promise((found, failed) => entry.file(found, failed)), inFolder });
    return;
  }
  const reader = entry.createReader();
  // A reader gives at most a hundred entries at a time.
  for (;;) {
    const entries = await new Promise((found, failed) => reader.readEntries(found, failed));
    if (!entries.length) return;
    for (const one of entries) await walk(one, true, files);
  }
}
