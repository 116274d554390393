// Distributions that the heads predict. The same as dreamer_lite/agent/distributions.py.
import { logSoftmax, sigmoid, symexp, symexpBins, twoHotMean } from "./transforms.js";

/** Categorical distributions, one per group; `logits` (groups * classes) are ln p. */
export class OneHot {
  constructor(logits, classes) {
    this.logits = logits;
    this.classes = classes;
    this.groups = logits.length / classes;
    this.probs = Float32Array.from(logits, Math.exp);
  }

  /** From unnormalised logits, with a `fraction` of the uniform distribution mixed in (unimix). */
  static mix(raw, classes, fraction = 0) {
    const logits = new Float32Array(raw.length);
    for (let start = 0; start < raw.length; start += classes) {
      const own = logSoftmax(raw, start, classes);
      for (let c = 0; c < classes; c++) {
        const mixed = (1 - fraction) * Math.exp(own[c]) + fraction / classes;
        logits[start + c] = fraction === 0 ? own[c] : Math.log(mixed);
      }
    }
    return new OneHot(logits, classes);
  }

  /** The logits divided by a temperature; 1 is the distribution itself, 0 its likeliest classes. */
  atTemperature(temperature) {
    if (temperature === 1) return this;
    const divided = this.logits.map((logit) => logit / Math.max(temperature, 1e-3));
    return OneHot.mix(divided, this.classes);
  }

  /**
   * The one-hot classes (groups * classes) in which the cumulative probability passes u (groups).
   * With uniform u this samples. The sums are float32, one by one, as in JAX.
   */
  quantile(u) {
    const sample = new Float32Array(this.probs.length);
    for (let group = 0; group < this.groups; group++) {
      let cumulative = 0;
      let index = 0;
      for (let c = 0; c < this.classes - 1; c++) {
        cumulative = Math.fround(cumulative + this.probs[group * this.classes + c]);
        if (cumulative <= u[group]) index += 1;
      }
      sample[group * this.classes + index] = 1;
    }
    return sample;
  }

  /** The likeliest class of each group, as numbers (groups). */
  modes() {
    return Array.from({ length: this.groups }, (_, group) => {
      const own = this.probs.subarray(group * this.classes, (group + 1) * this.classes);
      return own.indexOf(Math.max(...own));
    });
  }

  /** In nats, summed over the groups. */
  entropy() {
    return -this.probs.reduce((sum, p, i) => sum + p * this.logits[i], 0);
  }

  /** KL(p || q) in nats, summed over the groups. */
  kl(q) {
    return this.probs.reduce((sum, p, i) => sum + p * (this.logits[i] - q.logits[i]), 0);
  }
}

/** A diagonal normal distribution with a mean in [-1, 1] and a bounded standard deviation. */
export class BoundedNormal {
  constructor(center, spread, minStd, maxStd) {
    this.center = center.map(Math.tanh);
    this.std = spread.map((s) => (maxStd - minStd) * sigmoid(s + 2) + minStd);
  }

  /** From standard normal noise of the same length. */
  sample(noise) {
    return this.center.map((mean, i) => mean + this.std[i] * noise[i]);
  }
}

/** The expected value of a reward or of a return; `kind` is the setting `scalars`. */
export function scalarMean(kind, outputs) {
  if (kind === "plain") return outputs[0];
  if (kind === "symlog") return symexp(outputs[0]);
  return twoHotMean(logSoftmax(outputs).map(Math.exp), symexpBins(outputs.length));
}
