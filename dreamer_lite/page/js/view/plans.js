// Two plans from one kept moment, side by side as small strips.
import { button, canvas, el, fixed } from "./elements.js";

const SHOWN = 12; // frames of a strip
const SMALL = 72; // pixels

export class Plans {
  /** `page` has dream, painter, values of observations, and words for actions. */
  constructor(page) {
    this.page = page;
    this.kept = null;
    this.plans = []; // the newest last; each a list of moments after the kept one
    this.keepButton = button("keep this moment", () => page.run(() => this.keep()), { key: "K" });
    this.againButton = button("back to it: another plan", () => page.run(() => this.again()), { key: "B" });
    this.strips = el("div", { class: "strips" });
    this.view = el(
      "section", { "aria-labelledby": "plans" },
      el("h2", { id: "plans" }, "Two plans from one moment"),
      el("p", {}, "Keep a moment, act, go back to it, act otherwise. Both plans meet the same noise."),
      el("div", { class: "row" }, this.keepButton, this.againButton),
      this.strips,
    );
    this.draw();
  }

  keep() {
    this.kept = this.page.dream.now;
    this.observing = this.page.dream.observing;
    this.plans = [[]];
    this.draw();
    return "This moment is kept.";
  }

  again() {
    if (!this.kept) return "Keep a moment first.";
    this.page.dream.now = this.kept;
    if (this.plans.at(-1).length) this.plans.push([]);
    this.plans = this.plans.slice(-2);
    this.draw();
    return "Back at the kept moment: another plan begins.";
  }

  /** Another moment was chosen: nothing is kept. */
  forget() {
    this.kept = null;
    this.plans = [];
    this.draw();
  }

  /** A step was taken. */
  add(now) {
    if (!this.kept) return;
    this.plans.at(-1).push(now);
    this.draw();
  }

  draw() {
    this.againButton.disabled = !this.kept;
    const rows = this.plans.filter((plan) => plan.length).map((plan, i) => this.strip(plan, i));
    this.strips.replaceChildren(...rows);
  }

  strip(plan, number) {
    const { painter, data } = this.page;
    const last = plan.at(-1);
    const rewards = last.total.dream - this.kept.total.dream;
    const real = last.real ? `, real rewards ${fixed(last.total.real - this.kept.total.real, 1)}` : "";
    const words =
      `Plan ${"AB"[number]}: ${plan.map((now) => this.page.sayAction(now.action)).join(", ")}. ` +
      `Predicted rewards ${fixed(rewards, 1)}, value at the end ${fixed(last.predicted.value, 1)}${real}.`;
    const frames = plan.slice(0, SHOWN).map((now) => {
      const frame = canvas(
        painter.width, painter.height, painter.say(now.predicted.obs) || "a frame", painter.pixels,
      );
      painter.draw(frame.getContext("2d"), now.predicted.obs);
      frame.style.width = `${SMALL}px`;
      return frame;
    });
    return el("div", { class: "plan" }, el("p", {}, words), el("div", { class: "frames" }, ...frames));
  }
}
