// How far to trust an imagined step, from the model alone. The same as dreamer_lite/page/trust.py,
// which fits the weights to recorded episodes, and measures on others what they are worth.
import { asObserved } from "../agent/networks.js";

/** Before the first imagined step there is nothing to doubt. */
export const noTrust = () => ({ steps: 0, sums: null, probability: 1 });

/** What the model itself finds doubtful in an imagined state; all are at least 0. */
export function doubts(state, predicted, agent) {
  const { encoder, rssm, decoder } = agent.model;
  const again = rssm.posterior(state.deter, encoder.call(asObserved(predicted.obs, agent.obsSpace)));
  const expected = decoder.call(state.deter, state.prior.probs);
  return [
    state.prior.entropy(),
    again.kl(state.prior), // would seeing its own prediction surprise it?
    -again.logits.reduce((sum, logit, i) => sum + logit * state.stoch[i], 0), // ... change its mind?
    distance(predicted.obs, expected), // does this sample look like the mean of all samples?
  ];
}

/** Mean squared distance of two decoded observations. */
function distance(one, other) {
  let sum = 0;
  let count = 0;
  for (const key of Object.keys(one)) {
    one[key].forEach((x, i) => (sum += (x - other[key][i]) ** 2));
    count += one[key].length;
  }
  return sum / count;
}

/** The inputs of the fit: logarithms of the doubts now, of their sums so far, and of the steps. */
export function evidence(now, sums, steps) {
  return [...now, ...sums, steps].map(Math.log1p);
}

/** The trust after one more imagined step. */
export function nextTrust(before, state, predicted, agent, fit) {
  return trustAfter(before, doubts(state, predicted, agent), fit);
}

/** The same from the doubts of that step; `fit` has weights, bias, mean and scale. */
export function trustAfter(before, found, fit) {
  const now = found.map((x) => Math.max(x, 0)); // rounding may leave -1e-7
  const sums = now.map((x, i) => x + (before.sums?.[i] ?? 0));
  const steps = before.steps + 1;
  const score = evidence(now, sums, steps).reduce(
    (sum, x, i) => sum + (fit.weights[i] * (x - fit.mean[i])) / fit.scale[i],
    fit.bias,
  );
  return { steps, sums, probability: 1 / (1 + Math.exp(-score)) };
}
