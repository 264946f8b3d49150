// What is expected of the network on this exam: predicted Dice, the interval of EF, and why; nothing of what a person changed.

import { fill, h } from "../shared/dom.js";
import { DICE, NO_DICE, interval, whole, why } from "../shared/expected.js";
import { shown } from "../shared/numbers.js";

export class Expectation {
  constructor(state) {
    this.state = state;
    this.values = h("p.values-expected");
    this.reason = h("p.reason");
    this.element = h("section.expected", { "aria-label": "Expected of the network" }, h("h2", { text: "Expected of the network" }), this.values, this.reason);
    state.on("numbers", () => this.update());
    this.update();
  }

  update() {
    const { trust, firstTrust } = this.state;
    const key = JSON.stringify([trust, firstTrust]);
    if (key === this.key) return;
    this.key = key;
    // Contours that never had a prediction need no place for one; after an edit the place stays, and nothing jumps.
    this.element.hidden = !firstTrust;
    const ef = interval(trust);
    fill(
      this.values,
      h("span", { title: trust ? DICE : NO_DICE }, "Predicted Dice ", h("b.dice", { text: shown(trust?.dice, 2) })),
      ef && h("span", { title: ef.title }, "EF ", h("b.interval", { text: ef.ends }), ` % (${ef.percent} interval)`),
    );
    const reasons = trust ? why(trust) : "";
    fill(this.reason, trust?.low ? [h("b", { text: "Doubt" }), ` ${whole(reasons)}`] : reasons || (trust ? "nothing stands out" : "nothing is predicted for contours or phases that a person has changed"));
    this.reason.title = reasons && whole(reasons);
    this.reason.classList.toggle("low", Boolean(trust?.low));
  }
}
