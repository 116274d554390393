// What the model predicts and how sure it is: a table, heat maps, and the trust meter.
import { canvas, el, fixed, percent, setBar } from "./elements.js";
import { drawHeatMap, emptyHeatMap, sayHeatMap } from "./heatmap.js";

const DOUBTFUL = 0.5; // below this trust the page warns

export class Mind {
  constructor(data) {
    this.most = data.config.stoch * Math.log(data.config.classes); // nats
    this.rows = ["reward", "continues", "rewards so far", "value (critic)", "prior entropy", "surprise"].map(
      (name) => [name, el("td"), el("td")],
    );
    const head = el("tr", {}, el("td"), el("th", { scope: "col" }, "dream"), el("th", { scope: "col" }, "reality"));
    this.table = el(
      "table", {}, el("caption", {}, "What the model predicts"), el("tbody", {}, head,
        ...this.rows.map(([name, ...cells]) => el("tr", {}, el("th", { scope: "row" }, name), ...cells))),
    );
    this.prior = canvas(80, 80, "");
    this.post = canvas(80, 80, "");
    this.bar = el("div", { class: "bar" });
    this.meter = el("div", {
      class: "meter", role: "meter", "aria-label": "trust in this imagined frame",
      "aria-valuemin": 0, "aria-valuemax": 100,
    }, this.bar);
    this.verdict = el("p", { class: "verdict" });
    this.view = el(
      "section", { class: "mind", "aria-labelledby": "mind" },
      el("h2", { id: "mind" }, "Inside the model"),
      el("div", { class: "trust" }, this.verdict, this.meter, el("p", { class: "small" }, measured(data.trust))),
      this.table,
      el(
        "div", { class: "maps" },
        el("figure", {}, el("figcaption", {}, "prior p(z | h)"), this.prior),
        el("figure", {}, el("figcaption", {}, "posterior q(z | h, x)"), this.post),
      ),
      el("p", { class: "small" }, "A column per group, a row per class. A ring marks the sampled class."),
    );
  }

  draw(now) {
    const { predicted, real, prior, post, total } = now;
    const surprise = post ? `${fixed(post.kl(prior), 1)} nats` : "unknown";
    const live = real && !real.over;
    const filled = [
      [fixed(predicted.reward, 2), live ? fixed(real.reward, 2) : "unknown"],
      [percent(predicted.cont), real ? (real.isTerminal ? "no" : "yes") : "unknown"],
      [fixed(total.dream, 1), real ? fixed(total.real, 1) : "unknown"],
      [fixed(predicted.value, 1), ""],
      [`${fixed(prior.entropy(), 1)} of ${fixed(this.most, 1)} nats`, ""],
      ["", surprise],
    ];
    filled.forEach((values, row) => values.forEach((x, i) => (this.rows[row][i + 1].textContent = x)));
    drawHeatMap(this.prior, prior, now.state.stoch);
    this.prior.setAttribute("aria-label", sayHeatMap("prior", prior));
    if (post) drawHeatMap(this.post, post, now.state.stoch);
    else emptyHeatMap(this.post);
    this.post.setAttribute("aria-label", post ? sayHeatMap("posterior", post) : "posterior: unknown");
    this.drawTrust(now);
  }

  drawTrust({ trust, imagined }) {
    const p = trust.probability;
    this.verdict.textContent = sayTrust({ trust, imagined });
    this.verdict.classList.toggle("warning", p < DOUBTFUL);
    setBar(this.bar, p);
    this.meter.setAttribute("aria-valuenow", Math.round(100 * p));
  }
}

export function sayTrust({ trust, imagined }) {
  if (imagined === 0) return "The model observes: nothing is imagined yet.";
  const p = trust.probability;
  const warning = p < DOUBTFUL ? "⚠ Do not trust it: " : "Trust: ";
  return `${warning}this frame is good with a probability of ${percent(p)}.`;
}

/** What the trust meter is worth, by the numbers that were measured. */
function measured({ auc, auc_steps: bySteps, good, frames }) {
  const meaning =
    "The trust meter knows the model only. A frame is good if it errs at most half as much as the " +
    "mean of all frames does. ";
  if (auc === null) return `${meaning}Not measured, because ${percent(good)} of the frames are good.`;
  return (
    `${meaning}On ${frames} imagined frames of other episodes, of which ${percent(good)} are good, ` +
    `its AUC is ${auc.toFixed(2)} (the number of steps alone: ${bySteps.toFixed(2)}; guessing: 0.50).`
  );
}
