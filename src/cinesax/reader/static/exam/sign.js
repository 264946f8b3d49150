// Name, comment, approve or send back; and the report.

import { post } from "../shared/api.js";
import { fill, h, say } from "../shared/dom.js";
import { remember, remembered } from "../shared/store.js";

export class Sign {
  /**
   * @param state the exam's state
   * @param edits edits on their way: they go first
   * @param tell {message(text, bad), reload()}
   */
  constructor(state, edits, tell) {
    this.state = state;
    this.edits = edits;
    this.tell = tell;
    this.name = h("input", {
      type: "text", id: "sign-name", autocomplete: "name", value: remembered("reader") ?? "", placeholder: "Your name", "aria-label": "Your name", maxlength: "64",
      on: { input: () => remember("reader", this.name.value.trim()), keydown: (event) => event.key === "Enter" && this.approve() },
    });
    this.comment = h("input", {
      type: "text", id: "sign-comment", placeholder: "Comment (optional)", "aria-label": "Comment", maxlength: "2000", value: state.comment ?? "",
      on: { keydown: (event) => event.key === "Enter" && this.approve() },
    });
    this.approving = h("button.primary", { type: "button", text: "Approve", id: "approve", on: { click: () => this.approve() } });
    this.sending = h("button", { type: "button", text: "Send back", id: "send-back", title: "Not approved: someone else should check it", on: { click: () => this.sendBack() } });
    this.report = h("a.button", { href: `/api/exams/${state.id}/report`, target: "_blank", rel: "noopener", text: "Report", id: "report", title: "The report of the present contours" });
    this.said = h("p.said", { role: "status" });
    this.element = h("section.sign", { "aria-label": "Sign" }, this.said, h("div.row", {}, this.name, this.comment), h("div.row", {}, this.approving, this.sending, h("span.room"), this.report));
    state.on("sign", () => this.update());
    this.update();
  }

  focus() {
    this.name.focus();
    this.name.select();
  }

  update() {
    const { approved, status, sentBack, changedSince } = this.state;
    const lines = [];
    if (status === "approved" && approved) lines.push(`Approved by ${approved.by} as version ${approved.number}.`);
    else if (approved) lines.push(`Version ${approved.number} was approved by ${approved.by}; edited since.`);
    if (sentBack) lines.push("Sent back.");
    if (changedSince) lines.push(`${changedSince[0].toUpperCase()}${changedSince.slice(1)}.`);
    say(this.said, lines.join(" "));
    this.said.hidden = !lines.length;
    const number = status === "approved" && approved ? `?number=${approved.number}` : "";
    this.report.href = `/api/exams/${this.state.id}/report${number}`;
  }

  approve() {
    return this.#sign("approve", { dicom: true, rtstruct: false }, this.approving);
  }

  sendBack() {
    return this.#sign("send_back", {}, this.sending);
  }

  async #sign(what, more, button) {
    if (!this.name.value.trim()) {
      this.tell.message("Who signs? Type your name first.", true);
      this.focus();
      return;
    }
    if (this.edits.pending) await this.edits.settled();
    const before = button.textContent;
    this.approving.disabled = this.sending.disabled = true;
    say(button, what === "approve" ? "Writing results…" : "Sending back…");
    try {
      const answer = await post(`/api/exams/${this.state.id}/${what}`, { version: this.state.version, by: this.name.value.trim(), comment: this.comment.value.trim(), ...more });
      await this.tell.reload();
      this.tell.message(what === "approve" ? `Approved as version ${answer.number}. Results: ${answer.folder}` : "Sent back.");
      if (answer.warning) this.tell.message(answer.warning, true);
    } catch (error) {
      if (error.code === "stale" && error.rest.state) this.state.take(error.rest.state);
      this.tell.message(error.message, true);
    }
    say(button, before);
    this.approving.disabled = this.sending.disabled = false;
  }
}

/** What to doubt: click goes to the frame. */
export class Findings {
  constructor(state) {
    this.state = state;
    this.list = h("ul.findings", { "aria-label": "Findings" });
    this.notes = h("ul.findings", { "aria-label": "Notes" });
    this.count = h("summary");
    this.more = h("details", {}, this.count, this.notes);
    this.element = h("section", { "aria-label": "What to doubt" }, h("h2", { text: "What to doubt" }), this.list, this.more);
    state.on("numbers", () => this.update());
    this.update();
  }

  update() {
    // What the finding about trust says has a place of its own, as in the worklist.
    const { trust } = this.state;
    const findings = this.state.findings.filter(({ code }) => !(trust && code === "low-trust"));
    const apart = findings.length < this.state.findings.length;
    const key = JSON.stringify([findings, apart]);
    if (key === this.key) return;
    this.key = key;
    const [errors, warnings, notes] = ["error", "warning", "note"].map((level) => findings.filter(({ severity }) => severity === level));
    const doubts = [...errors, ...warnings];
    fill(this.list, doubts.length ? doubts.map((finding) => this.#entry(finding)) : h("li.none", { text: apart ? "Nothing else." : "Nothing to doubt." }));
    // Notes are facts about the files, seldom about this reading: they would push the grid out of sight.
    fill(this.notes, notes.map((finding) => this.#entry(finding)));
    say(this.count, notes.length === 1 ? "1 note" : `${notes.length} notes`);
    this.more.hidden = !notes.length;
  }

  #entry({ severity, message, phase, slice }) {
    const placed = phase !== null || slice !== null;
    const where = [slice === null ? "" : `slice ${slice}`, phase === null ? "" : `phase ${phase}`].filter(Boolean).join(", ");
    const go = () => this.state.go({ ...(phase === null ? {} : { phase }), ...(slice === null ? {} : { slice }) });
    return h("li", { class: severity }, h("b", { text: { error: "Error", warning: "Doubt", note: "Note" }[severity] }), ` ${message} `, placed ? h("button.small.plain", { type: "button", text: `Go to ${where}`, on: { click: go } }) : null);
  }
}
