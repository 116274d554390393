// Categorical distributions as a small heat map: a column per group, a row per class.
const NIGHT_SKY = [15, 18, 28];
const LIT = [86, 180, 233];
const SIDE = 10; // pixels of a cell

/** Draws probabilities, with a ring around the sampled classes of `stoch`. */
export function drawHeatMap(canvas, distribution, stoch) {
  const context = canvas.getContext("2d");
  const { groups, classes, probs } = distribution;
  canvas.width = groups * SIDE;
  canvas.height = classes * SIDE;
  for (let i = 0; i < probs.length; i++) {
    const [x, y] = [Math.floor(i / classes) * SIDE, (i % classes) * SIDE];
    const strength = Math.sqrt(probs[i]); // so that rare classes are seen
    const colour = NIGHT_SKY.map((dark, k) => Math.round(dark + strength * (LIT[k] - dark)));
    context.fillStyle = `rgb(${colour})`;
    context.fillRect(x, y, SIDE - 1, SIDE - 1);
    if (stoch[i] !== 1) continue;
    context.strokeStyle = "rgb(250,250,245)";
    context.lineWidth = 2;
    context.strokeRect(x + 1, y + 1, SIDE - 3, SIDE - 3);
  }
}

export function emptyHeatMap(canvas) {
  canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
}

/** The same in words. */
export function sayHeatMap(name, distribution) {
  const { groups, classes, probs } = distribution;
  let undecided = 0;
  for (let group = 0; group < groups; group++) {
    const own = probs.subarray(group * classes, (group + 1) * classes);
    undecided += Math.max(...own) < 0.9;
  }
  return (
    `${name}: ${groups} groups of ${classes} classes, entropy ` +
    `${distribution.entropy().toFixed(1)} nats; in ${undecided} groups no class has 90 %`
  );
}
