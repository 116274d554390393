// The dream that is steered: a state of the model, and reality beside it under the same actions.
import { Agent, decodeNumbers } from "../agent/agent.js";
import { rulesOf } from "../worlds/worlds.js";
import { normal, uniform } from "./noise.js";
import { nextTrust, noTrust } from "./trust.js";

export const OWN = "agent decides"; // the choice that leaves the action to the agent's own policy
export const RECORDED = "as recorded"; // what the agent did when reality was recorded
const DRAWS = 2; // random numbers that the rules of an environment need in one step, at most

/**
 * One moment, `now`, is an object that never changes: to keep it is to be able to go back to it.
 *
 *   time        steps since the start
 *   imagined    steps since the last observation; 0 while observing
 *   state       {deter, stoch} of the model
 *   prior       p(z | h)
 *   post        q(z | h, real observation), or null if reality is over or unknown
 *   predicted   what the heads predict from the state, see `Agent.predict`
 *   real        {obs, reward, isLast, isTerminal, world}, or null if reality is unknown
 *   path        which recorded step reality is at, or null if other actions were taken
 *   action, by  what led here, and who chose it
 *   total       {dream, real}: rewards since the start
 *   trust       see trust.js
 */
export class Dream {
  constructor(data) {
    this.data = data;
    this.agent = new Agent(data);
    this.rules = rulesOf(data.world);
    this.moments = data.moments.map((moment) => readMoment(moment, data));
    this.observing = false;
    this.temperature = 1;
    this.begin(0, 0);
  }

  /** Start from a real moment, with the random numbers of `seed`. */
  begin(moment, seed = this.seed) {
    this.moment = moment;
    this.seed = seed;
    const start = this.moments[moment];
    const { deter } = start.state;
    const { rssm, encoder } = this.agent.model;
    this.now = {
      time: 0,
      imagined: 0,
      state: start.state,
      prior: rssm.prior(deter),
      post: rssm.posterior(deter, encoder.call(start.real.obs)),
      predicted: this.agent.predict(start.state),
      real: start.real,
      path: 0,
      action: null,
      by: "",
      total: { dream: 0, real: 0 },
      trust: noTrust(),
    };
  }

  /** Whether reality has a recorded step left, for the choice RECORDED. */
  get canFollow() {
    const { path } = this.now;
    return !this.rules && path !== null && path + 1 < this.moments[this.moment].recorded.length;
  }

  /** Whether the model can observe reality at the next step. */
  get canObserve() {
    if (this.rules) return true;
    return this.canFollow;
  }

  /** Take a step by OWN, by RECORDED, or by an action. */
  step(choice) {
    const now = this.now;
    const action = this.actionOf(choice);
    const { rssm, encoder } = this.agent.model;
    const embedded = this.agent.embedAction(action);
    const u = uniform(this.seed, now.time, "latent", this.agent.config.stoch);
    const { real, path } = this.nextReality(action, choice === RECORDED);
    const live = real && !real.over;
    const embed = live ? encoder.call(real.obs) : null;
    const observes = this.observing && live;
    const state = observes
      ? rssm.observeStep(now.state, embed, embedded, real.isFirst, u)
      : rssm.imagineStep(now.state, embedded, u, this.temperature);
    const predicted = this.agent.predict(state);
    this.now = {
      time: now.time + 1,
      imagined: observes ? 0 : now.imagined + 1,
      state: { deter: state.deter, stoch: state.stoch },
      prior: state.prior,
      post: state.post ?? (live ? rssm.posterior(state.deter, embed) : null),
      predicted,
      real,
      path,
      action,
      by: choice === OWN || choice === RECORDED ? choice : "",
      total: {
        dream: now.total.dream + predicted.reward,
        real: now.total.real + (live ? real.reward : 0),
      },
      trust: observes ? noTrust() : nextTrust(now.trust, state, predicted, this.agent, this.data.trust),
    };
  }

  actionOf(choice) {
    const { time, path, predicted } = this.now;
    if (choice === RECORDED) return this.moments[this.moment].recorded[path].action;
    if (choice !== OWN) return choice;
    const { policy } = predicted;
    if (this.agent.actor.discrete) {
      return policy.quantile(uniform(this.seed, time, "action", 1)).indexOf(1);
    }
    return policy.sample(normal(this.seed, time, "action", policy.center.length));
  }

  /** The real environment after an action; `over` marks a step after its episode's end. */
  nextReality(action, follows) {
    const { real, path } = this.now;
    if (!this.rules) {
      if (!follows || path === null) return { real: null, path: null };
      return { real: this.moments[this.moment].recorded[path + 1].real, path: path + 1 };
    }
    const u = uniform(this.seed, this.now.time, "reality", DRAWS);
    if (!real.isLast) return { real: this.realStep(real.world, action, u), path: null };
    if (!this.observing) return { real: { ...real, over: true }, path: null };
    const world = this.rules.reset(u); // the next game begins
    const obs = this.rules.observe(world);
    const first = { world, obs, reward: 0, isFirst: true, isLast: false, isTerminal: false };
    return { real: first, path: null };
  }

  realStep(world, action, u) {
    const { state, ...step } = this.rules.step(world, action, u);
    return { world: state, obs: this.rules.observe(state), isFirst: false, ...step };
  }
}

/** A moment of the page's data with its numbers decoded. */
function readMoment({ deter, stoch, world, steps }, { config, obs_space: spaces }) {
  const onehot = new Float32Array(config.stoch * config.classes);
  stoch.forEach((c, group) => (onehot[group * config.classes + c] = 1));
  const recorded = steps.map((step) => {
    const obs = Object.create(null);
    for (const [key, space] of Object.entries(spaces)) {
      obs[key] = decodeNumbers(step.obs[key], space.dtype);
    }
    const real = {
      obs, world, reward: step.reward, isFirst: false,
      isLast: step.is_last, isTerminal: step.is_terminal,
    };
    return { action: step.action, real };
  });
  return {
    state: { deter: decodeNumbers(deter, "float32"), stoch: onehot },
    real: recorded[0].real,
    recorded,
  };
}
