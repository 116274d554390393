// Random numbers that depend on the seed, the step and their use only: the same moment, sample and
// actions give the same rollout, and two plans from one moment meet the same noise.

/** A generator of uniform float32 numbers in [0, 1), by mulberry32. */
function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 8) / 2 ** 24;
  };
}

const USES = ["latent", "action", "reality"];

/** `count` uniform numbers for one use at one step. */
export function uniform(seed, step, use, count) {
  const mixed = Math.imul(seed + 1, 0x9e3779b1) ^ Math.imul(step + 1, 0x85ebca6b);
  const draw = generator(mixed ^ Math.imul(USES.indexOf(use) + 1, 0xc2b2ae35));
  draw(); // neighbouring seeds differ from the second number on
  return Float32Array.from({ length: count }, draw);
}

/** `count` standard normal numbers, by Box and Muller. */
export function normal(seed, step, use, count) {
  const u = uniform(seed, step, use, 2 * count);
  return Float32Array.from({ length: count }, (_, i) => {
    const radius = Math.sqrt(-2 * Math.log(1 - u[2 * i]));
    return radius * Math.cos(2 * Math.PI * u[2 * i + 1]);
  });
}
