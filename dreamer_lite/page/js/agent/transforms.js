// Functions of numbers without parameters. The same as dreamer_lite/agent/transforms.py.

export function symlog(x) {
  return Math.sign(x) * Math.log1p(Math.abs(x));
}

export function symexp(x) {
  return Math.sign(x) * Math.expm1(Math.abs(x));
}

export function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

export function silu(x) {
  return x * sigmoid(x);
}

/** Values of the two-hot bins: symexp of evenly spaced numbers from -20 to 20, exactly symmetric. */
export function symexpBins(count) {
  const bins = new Float32Array(count);
  const half = Math.ceil(count / 2);
  for (let i = 0; i < half; i++) {
    const place = Math.fround(half > 1 ? -20 + (20 * i) / (half - 1) : -20);
    const value = Math.expm1(-place);
    bins[i] = -value;
    bins[count - 1 - i] = value;
  }
  return bins;
}

/** The expected bin value. Mirrored pairs are subtracted first, so that large bins cancel exactly. */
export function twoHotMean(probs, bins) {
  const count = bins.length;
  const half = Math.floor(count / 2);
  let sum = 0;
  for (let i = 0; i < half; i++) {
    const above = count - 1 - i;
    sum += (probs[above] - probs[i]) * bins[above];
  }
  return sum; // with an odd count the bin in the middle is worth 0
}

/** ln of softmax(logits), of the `length` numbers from `start` on. */
export function logSoftmax(logits, start = 0, length = logits.length) {
  let top = -Infinity;
  for (let i = start; i < start + length; i++) top = Math.max(top, logits[i]);
  let sum = 0;
  for (let i = start; i < start + length; i++) sum += Math.exp(logits[i] - top);
  const result = new Float32Array(length);
  for (let i = 0; i < length; i++) result[i] = logits[start + i] - top - Math.log(sum);
  return result;
}
