// The whole agent, made from the numbers of the page. See dreamer_lite/agent/agent.py.
import { Actor, Critic } from "./behavior.js";
import { WorldModel } from "./world_model.js";

const KINDS = { float32: Float32Array, uint8: Uint8Array, int32: Int32Array };

/** Numbers that were written as base64 of their little-endian bytes. */
export function decodeNumbers(text, kind) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new KINDS[kind](bytes.buffer);
}

/**
 * Nested parameters from one array of all numbers and a table of [path, shape], in this order.
 * The objects have no prototype, so that a key of an observation may have any name.
 */
export function makeParams(numbers, table) {
  const params = Object.create(null);
  let start = 0;
  for (const [path, shape] of table) {
    const size = shape.reduce((product, n) => product * n, 1);
    const leaf = numbers.subarray(start, start + size);
    leaf.shape = shape;
    start += size;
    let place = params;
    for (const name of path.slice(0, -1)) place = place[name] ??= Object.create(null);
    place[path.at(-1)] = leaf;
  }
  return params;
}

export class Agent {
  constructor({ config, obs_space, action_space, parameters, weights }) {
    const params = makeParams(decodeNumbers(weights, "float32"), parameters);
    this.config = config;
    this.obsSpace = obs_space;
    this.actionSpace = action_space;
    this.model = new WorldModel(params.model, obs_space, config);
    this.actor = new Actor(params.actor, action_space, config);
    this.critic = new Critic(params.critic, config);
  }

  /** An action as the networks take it: a class as one-hot, else as it is. */
  embedAction(action) {
    const { classes } = this.actionSpace;
    if (!classes) return Float32Array.from(action);
    const onehot = new Float32Array(classes);
    onehot[action] = 1;
    return onehot;
  }

  /** What the heads predict from a state; the probability of continuation is undiscounted. */
  predict(state) {
    return {
      obs: this.model.decoder.call(state.deter, state.stoch),
      reward: this.model.reward(state),
      cont: Math.min(1, this.model.cont(state) / this.config.discount),
      value: this.critic.call(state),
      policy: this.actor.call(state),
    };
  }
}
