// The page: reality and dream side by side, the controls, and what they do.
import { choicesOf, sayAction } from "./choices.js";
import { asValues, painterOf } from "./draw.js";
import { Dream, OWN, RECORDED } from "./dream.js";
import { button, canvas, el, fixed, percent, setBar, slider } from "./elements.js";
import { Mind, sayTrust } from "./mind.js";
import { Plans } from "./plans.js";

const LONGEST = 60; // imagined steps after which *play* goes on to the next moment
const ENDED = 0.5; // below this probability of continuation a dream counts as ended
const FRAME = 1000 / 60; // milliseconds between two frames of most browsers
const ARROWS = { ArrowLeft: "left", ArrowRight: "right", ArrowUp: "up", ArrowDown: "down" };

class Page {
  constructor(main, data) {
    this.data = data;
    this.dream = new Dream(data);
    this.painter = painterOf(data.world, data.obs_space, data.ranges);
    this.choices = choicesOf(data);
    this.player = this.dream.rules ? OWN : RECORDED;
    this.speed = 6; // steps a second
    this.timer = null; // of *play*: an object of its own each time
    this.mind = new Mind(data);
    this.plans = new Plans(this);
    this.status = el("p", { role: "status", class: "status" });
    main.replaceChildren(
      this.header(),
      el("div", { class: "columns" },
        el("div", {}, this.stage(), this.pad(), this.transport(), this.status, this.settings()),
        this.mind.view),
      this.plans.view,
      this.help(),
    );
    document.addEventListener("keydown", (event) => this.onKey(event));
    this.draw();
  }

  sayAction(action) {
    return sayAction(action, this.data);
  }

  // What is on the page

  header() {
    const { title, score } = this.data;
    const trained = score
      ? ` Its mean return in training was ${fixed(score.return_mean, 1)} ± ${fixed(score.return_stderr, 1)}.`
      : "";
    const reality = this.dream.rules ? "the game itself" : "what was recorded";
    return el("header", {},
      el("h1", {}, title),
      el("p", {}, `On the left is reality: ${reality}. On the right is what the agent's world model `,
        `imagines under the same actions. It does not see reality, unless you let it observe.${trained}`));
  }

  stage() {
    const { width, height, pixels } = this.painter;
    this.views = ["real", "imagined"].map((name) => {
      const picture = canvas(width, height, name, pixels);
      const caption = el("figcaption");
      const note = el("p", { class: "note" });
      const view = el("figure", { class: name }, caption, picture, note);
      return { view, picture, caption, note };
    });
    this.stageView = el("div", {
      class: "stage", tabindex: 0, role: "group",
      "aria-label": "Reality and dream. While this is focused, the keys listed below work.",
    }, ...this.views.map(({ view }) => view));
    return this.stageView;
  }

  pad() {
    this.bars = [];
    const buttons = this.choices.map((choice, i) => {
      const bar = el("span", { class: "bar", "aria-hidden": "true" });
      const arrow = { left: "← ", right: "→ ", up: "↑ ", down: "↓ " }[choice.arrow] ?? "";
      const act = () => this.act(choice.action);
      const made = button(`${arrow}${choice.label}`, act, { key: i < 9 ? String(i + 1) : "", about: choice.about });
      made.append(bar);
      this.bars.push({ bar, choice, made });
      return made;
    });
    const own = button(OWN, () => this.act(OWN), { key: "A", about: "a step by the agent's own policy" });
    this.follow = button(RECORDED, () => this.act(RECORDED), { key: "F", about: "a step by the recorded action" });
    const extra = this.dream.rules ? [own] : [own, this.follow];
    return el("div", { class: "row pad", role: "group", "aria-label": "Actions: each takes one step" }, ...buttons, ...extra);
  }

  transport() {
    const run = (act) => () => this.run(act);
    this.playButton = button("play", () => this.toggle(), { key: "P" });
    this.observeButton = button("observe reality", run(() => this.observe()), {
      key: "O", about: "at each step: observe the game, or imagine",
    });
    return el("div", { class: "row", role: "group", "aria-label": "Play and moments" },
      this.playButton,
      this.observeButton,
      button("restart", run(() => this.begin(this.dream.moment)), { key: "R", about: "same moment, same sampling noise" }),
      button("new sample", run(() => this.begin(this.dream.moment, this.dream.seed + 1)), { key: "S", about: "same moment, other noise" }),
      button("next moment", run(() => this.next()), { key: "N" }));
  }

  settings() {
    const players = [...(this.dream.rules ? [] : [RECORDED]), OWN, ...this.choices.map(({ label }) => label)];
    const select = el("select", {}, ...players.map((name) => el("option", {}, name)));
    select.addEventListener("change", () => {
      const choice = this.choices.find(({ label }) => label === select.value);
      this.player = choice ? choice.action : select.value;
    });
    return el("div", { class: "row settings" },
      el("label", {}, "play by ", select),
      slider("speed (steps a second)", { min: 1, max: 30, step: 1, value: this.speed }, (x) => (this.speed = x)),
      slider("sampling temperature", { min: 0, max: 3, step: 0.1, value: 1 }, (x) => (this.dream.temperature = x)));
  }

  help() {
    const keys = [
      ["← → ↑ ↓, 1 to 9", "take an action"], ["A", OWN], ...(this.dream.rules ? [] : [["F", RECORDED]]),
      ["P", "play, pause"], ["O", "observe reality, or imagine"], ["R", "restart"], ["S", "new sample"],
      ["N", "next moment"], ["K", "keep this moment"], ["B", "back to it"],
    ];
    return el("details", {}, el("summary", {}, "Keys, and how to read this page"),
      el("p", {}, "The arrow keys work everywhere but in the settings. The letters and digits work while the two images are focused: click on them, or reach them with the Tab key."),
      el("dl", {}, ...keys.flatMap(([key, does]) => [el("dt", {}, el("kbd", {}, key)), el("dd", {}, does)])),
      el("p", {}, "The bars in the buttons are the probabilities of the agent's policy. The prior is the model's distribution over its stochastic state z before it sees reality, the posterior the one after. Surprise is the KL divergence of the posterior from the prior: what reality would tell the model."));
  }

  // What the controls do

  /** Stop playing, do something, show what it led to, and say it. */
  run(act) {
    this.pause();
    const words = act();
    this.draw();
    this.say(words);
  }

  /** One step by the reader's choice. */
  act(choice) {
    if (choice === RECORDED && !this.dream.canFollow) {
      this.run(() => "The recording does not go on from here: restart, or take the next moment.");
    } else {
      this.run(() => this.step(choice));
    }
  }

  step(choice) {
    this.dream.step(choice);
    this.plans.add(this.dream.now);
    return this.words();
  }

  begin(moment, seed = this.dream.seed) {
    this.plans.forget();
    this.dream.begin(moment, seed);
    return this.words();
  }

  next() {
    return this.begin((this.dream.moment + 1) % this.dream.moments.length);
  }

  observe() {
    this.dream.observing = !this.dream.observing;
    if (!this.dream.observing) return "The model imagines from the next step on.";
    if (this.dream.canObserve) return "The model observes reality from the next step on.";
    return "Reality is unknown here, so the model cannot observe it: restart first.";
  }

  toggle() {
    if (this.timer !== null) {
      this.pause();
      this.say(this.words());
    } else {
      this.say(`Playing: ${typeof this.player === "string" ? this.player : this.sayAction(this.player)}.`);
      this.play();
    }
  }

  /** Goes on when the browser draws its next frame: not while the page is out of sight. */
  play() {
    this.playButton.textContent = "pause";
    const due = performance.now() + 1000 / this.speed - FRAME / 2;
    if (this.isOver()) this.next();
    else this.step(this.player);
    this.draw();
    const timer = {};
    const next = () => {
      if (this.timer !== timer) return;
      if (performance.now() < due) requestAnimationFrame(next);
      else this.play();
    };
    this.timer = timer;
    requestAnimationFrame(next);
  }

  pause() {
    this.timer = null;
    this.playButton.textContent = "play";
  }

  /** Whether *play* should go on to the next moment. */
  isOver() {
    const { now, observing } = this.dream;
    if (this.player === RECORDED && !this.dream.canFollow) return true;
    if (observing && this.dream.rules) return false;
    return now.imagined >= LONGEST || now.real?.over || (now.imagined > 0 && now.predicted.cont < ENDED);
  }

  onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest?.("select, input")) return;
    const does = this.keyed(event.key, this.stageView.contains(event.target));
    if (!does) return;
    event.preventDefault();
    does();
  }

  /** What a key does; letters and digits do something only while the stage is focused. */
  keyed(key, focused) {
    if (ARROWS[key]) {
      const choice = this.choices.find(({ arrow }) => arrow === ARROWS[key]);
      return choice && (() => this.act(choice.action));
    }
    if (!focused) return null;
    const choice = this.choices[Number(key) - 1];
    if (choice) return () => this.act(choice.action);
    const run = (act) => () => this.run(act);
    return {
      a: () => this.act(OWN),
      f: this.dream.rules ? null : () => this.act(RECORDED),
      p: () => this.toggle(),
      o: run(() => this.observe()),
      r: run(() => this.begin(this.dream.moment)),
      s: run(() => this.begin(this.dream.moment, this.dream.seed + 1)),
      n: run(() => this.next()),
      k: run(() => this.plans.keep()),
      b: run(() => this.plans.again()),
    }[key.toLowerCase()];
  }

  // What is shown

  draw() {
    const { now, observing } = this.dream;
    const [reality, dream] = this.views;
    const observed = now.imagined === 0;
    dream.view.classList.toggle("observed", observed);
    dream.caption.textContent = observed ? "the model observes" : `dream, step ${now.imagined}`;
    this.paint(dream, now.predicted.obs);
    dream.note.textContent = `reward ${fixed(now.predicted.reward, 2)} · continues ${percent(now.predicted.cont)}`;
    reality.view.classList.toggle("unknown", !now.real);
    if (now.real) {
      reality.caption.textContent = now.real.over ? "reality, over" : "reality";
      this.paint(reality, asValues(now.real.obs, this.data.obs_space));
      const end = now.real.isTerminal ? "the end" : now.real.isLast ? "time is up" : "continues";
      reality.note.textContent = now.real.over ? end : `reward ${fixed(now.real.reward, 2)} · ${end}`;
    } else {
      reality.caption.textContent = "reality, unknown";
      reality.note.textContent = "other actions were taken than the recorded ones";
    }
    this.observeButton.setAttribute("aria-pressed", String(observing));
    this.follow.disabled = !this.dream.canFollow;
    this.drawPolicy(now.predicted.policy);
    this.mind.draw(now);
  }

  paint({ picture, caption }, values) {
    this.painter.draw(picture.getContext("2d"), values);
    picture.setAttribute("aria-label", `${caption.textContent}: ${this.painter.say(values) || "an image"}`);
  }

  drawPolicy(policy) {
    for (const { bar, choice, made } of this.bars) {
      if (!policy.probs) continue;
      const p = policy.probs[choice.index];
      setBar(bar, p);
      made.setAttribute("aria-description", `policy ${percent(p)}`);
    }
  }

  say(words) {
    this.status.textContent = words;
  }

  /** The present moment in words. */
  words() {
    const { now, moment, moments } = this.dream;
    const { predicted, real } = now;
    if (now.time === 0) return `Real moment ${moment + 1} of ${moments.length}. Take an action.`;
    const by = now.by ? ` (${now.by})` : "";
    const parts = [
      `Step ${now.time}, ${this.sayAction(now.action)}${by}.`,
      `Predicted reward ${fixed(predicted.reward, 2)}, continues ${percent(predicted.cont)}, value ${fixed(predicted.value, 1)}.`,
      this.painter.say(predicted.obs) && `Dream: ${this.painter.say(predicted.obs)}.`,
    ];
    if (real?.over) parts.push("In reality the episode is over.");
    else if (real) {
      const seen = this.painter.say(asValues(real.obs, this.data.obs_space));
      parts.push(`Reality: reward ${fixed(real.reward, 2)}${seen && `, ${seen}`}.`);
      if (real.isLast) parts.push("The real episode has ended.");
    } else parts.push("Reality is unknown.");
    if (now.imagined > 0) {
      if (predicted.cont < ENDED) parts.push("The dream has ended; what follows means little.");
      parts.push(sayTrust(now));
    }
    return parts.filter(Boolean).join(" ");
  }
}

/** Builds the page inside `main`; it plays by itself, unless its reader wants no motion. */
export function openPage(main, data = JSON.parse(document.getElementById("data").textContent)) {
  const page = new Page(main, data);
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  if (still) page.say(page.words());
  else page.toggle();
  return page;
}
