// Choose another series of the exam.

import { get } from "../shared/api.js";
import { fill, h } from "../shared/dom.js";

/**
 * Ask which series to analyze.
 *
 * @param exam an entry of the worklist
 * @param page the shell
 * @param choose called with {series: index}
 */
export async function chooseSeries(exam, page, choose) {
  const { dialog } = page;
  let series;
  try {
    ({ series } = await get(`/api/exams/${exam.id}/series`));
  } catch (error) {
    page.message(error.message, true);
    return;
  }
  const entry = (one) =>
    h(
      "label.series",
      {},
      h("input", { type: "radio", name: "series", value: String(one.index), checked: one.picked }),
      h("span", {}, h("b", { text: one.series }), ` ${one.kind}`, one.picked ? " (picked)" : "", h("span.soft", { text: one.reason ? ` ${one.reason}` : "" })),
    );
  const submit = (event) => {
    event.preventDefault();
    const picked = new FormData(event.target).get("series");
    dialog.close();
    if (picked !== null) choose({ series: Number(picked) });
  };
  fill(
    dialog,
    h("h2", { id: "dialog-title", text: `Series of ${exam.name}` }),
    series.length
      ? h("form", { on: { submit } }, series.map(entry), h("div.actions", {}, h("button", { type: "button", text: "Cancel", on: { click: () => dialog.close() } }), h("button.primary", { type: "submit", text: "Analyze this series" })))
      : h("form", { method: "dialog" }, h("p", { text: "The exam has no other series that could be read." }), h("div.actions", {}, h("button", { text: "Close" }))),
  );
  dialog.showModal();
}
