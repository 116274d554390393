// The recurrent state-space model (RSSM). The same as dreamer_lite/agent/rssm.py.
//
//   h_t = f(h_t-1, z_t-1, a_t-1)     deterministic path: a block GRU
//   z_t ~ q(z_t | h_t, e_t)          posterior, while observing
//   z_t ~ p(z_t | h_t)               prior, while imagining
//
// A state is {deter, stoch}: h (D), and z (S*C) as one-hot groups. States are never changed.
import { OneHot } from "./distributions.js";
import { BlockLinear, concat, Layer, Linear, Mlp, Norm } from "./layers.js";
import { sigmoid, silu } from "./transforms.js";

export class Rssm {
  constructor(params, config) {
    this.config = config;
    this.fromDeter = new Layer(params.from_deter);
    this.fromStoch = new Layer(params.from_stoch);
    this.fromAction = new Layer(params.from_action);
    this.mix = new BlockLinear(params.mix);
    this.mixNorm = new Norm(params.mix_norm);
    this.gates = new BlockLinear(params.gates);
    this.priorMlp = new Mlp(params.prior_mlp);
    this.priorOut = new Linear(params.prior_out);
    this.postMlp = new Mlp(params.post_mlp);
    this.postOut = new Linear(params.post_out);
  }

  /** The state before the first observation: zeros. */
  initial() {
    const { deter, stoch, classes } = this.config;
    return { deter: new Float32Array(deter), stoch: new Float32Array(stoch * classes) };
  }

  /** h_t; the action is embedded, and continuous ones are clipped to [-1, 1]. */
  core({ deter, stoch }, action) {
    const clipped = Float32Array.from(action, (a) => a / Math.max(1, Math.abs(a)));
    const shared = concat(
      this.fromDeter.call(deter),
      this.fromStoch.call(stoch),
      this.fromAction.call(clipped),
    );
    const mixed = this.mix.call(deter, shared);
    return this.gru(deter, this.mixNorm.call(mixed).map(silu));
  }

  /** h' = u tanh(r c) + (1 - u) h, where reset r, candidate c and update u are parts of each block. */
  gru(deter, x) {
    const gates = this.gates.call(x);
    const size = deter.length / this.config.blocks;
    return deter.map((old, i) => {
      const start = Math.floor(i / size) * 3 * size + (i % size);
      const reset = sigmoid(gates[start]);
      const candidate = Math.tanh(reset * gates[start + size]);
      const update = sigmoid(gates[start + 2 * size] - 1);
      return update * candidate + (1 - update) * old;
    });
  }

  /** p(z | h), without the observation. */
  prior(deter) {
    return this.latent(this.priorOut.call(this.priorMlp.call(deter)));
  }

  /** q(z | h, e), given the embedded observation. */
  posterior(deter, embed) {
    return this.latent(this.postOut.call(this.postMlp.call(concat(deter, embed))));
  }

  latent(raw) {
    return OneHot.mix(raw, this.config.classes, this.config.unimix);
  }

  /** One posterior step. `u` (S) is uniform noise. */
  observeStep(state, embed, action, isFirst, u) {
    const before = isFirst ? this.initial() : state;
    const deter = this.core(before, isFirst ? action.map(() => 0) : action);
    const post = this.posterior(deter, embed);
    return { deter, stoch: post.quantile(u), prior: this.prior(deter), post };
  }

  /** One prior step, open loop. `u` (S) is uniform noise. */
  imagineStep(state, action, u, temperature = 1) {
    const deter = this.core(state, action);
    const prior = this.prior(deter);
    return { deter, stoch: prior.atTemperature(temperature).quantile(u), prior };
  }
}

/** Input of every head: deter, then stoch. */
export const feature = ({ deter, stoch }) => concat(deter, stoch);
