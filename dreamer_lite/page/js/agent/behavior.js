// Actor and critic, without their losses. See dreamer_lite/agent/behavior.py.
import { BoundedNormal, OneHot, scalarMean } from "./distributions.js";
import { Head, Linear, Mlp } from "./layers.js";
import { feature } from "./rssm.js";

/** The policy: a state to a distribution over actions. */
export class Actor {
  constructor(params, actionSpace, config) {
    this.config = config;
    this.discrete = actionSpace.classes > 0;
    this.mlp = new Mlp(params.mlp);
    if (this.discrete) {
      this.logits = new Linear(params.logits);
    } else {
      this.center = new Linear(params.center);
      this.spread = new Linear(params.spread);
    }
  }

  call(state) {
    const { policy_unimix, min_std, max_std } = this.config;
    const x = this.mlp.call(feature(state));
    if (this.discrete) {
      const logits = this.logits.call(x);
      return OneHot.mix(logits, logits.length, policy_unimix);
    }
    return new BoundedNormal(this.center.call(x), this.spread.call(x), min_std, max_std);
  }
}

/** The value: the return expected from a state. */
export class Critic {
  constructor(params, config) {
    this.config = config;
    this.head = new Head(params.head);
  }

  call(state) {
    return scalarMean(this.config.scalars, this.head.call(feature(state)));
  }
}
