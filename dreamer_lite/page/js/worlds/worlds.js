// The environments whose rules the page knows, by name. See dreamer_lite/worlds/__init__.py.
// Each has reset(u) -> state, step(state, action, u) -> {state, reward, isLast, isTerminal}, and
// observe(state); u are random numbers in [0, 1).
import { Breakout } from "./breakout.js";
import { Catch } from "./catch.js";
import { Pendulum } from "./pendulum.js";

const RULES = new Map([
  ["catch", new Catch()],
  ["catch/hidden", new Catch({ hidden: true })],
  ["catch/kink", new Catch({ kink: true })],
  ["catch/hidden-kink", new Catch({ hidden: true, kink: true })],
  ["minatar/breakout", new Breakout()],
  ["pendulum", new Pendulum()],
]);

/** The rules of an environment, or null if the page has none. */
export function rulesOf(name) {
  return RULES.get(name) ?? null;
}
