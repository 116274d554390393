// The equations of the pendulum. The same as dreamer_lite/worlds/pendulum.py; every result is
// rounded to float32, as there.
const GRAVITY = 10; // m/s^2
const DT = 0.05; // s
const TORQUE = 2; // N m, what an action of 1 stands for
const MAX_SPEED = 8; // rad/s
const TIME_LIMIT = 200;
const round = Math.fround;

export class Pendulum {
  reset([u, v]) {
    return { angle: round(Math.PI * (2 * u - 1)), speed: round(2 * v - 1), time: 0 };
  }

  step({ angle, speed, time }, [action]) {
    const torque = TORQUE * Math.min(Math.max(action, -1), 1);
    const turn = 2 * Math.PI;
    const wrapped = ((((angle + Math.PI) % turn) + turn) % turn) - Math.PI;
    const cost = wrapped ** 2 + 0.1 * speed ** 2 + 0.001 * torque ** 2;
    const push = 1.5 * GRAVITY * Math.sin(angle) + 3 * torque;
    const faster = round(Math.min(Math.max(speed + push * DT, -MAX_SPEED), MAX_SPEED));
    const state = { angle: round(angle + faster * DT), speed: faster, time: time + 1 };
    return { state, reward: -cost, isLast: state.time >= TIME_LIMIT, isTerminal: false };
  }

  /** cos and sin of the angle, and the speed. */
  observe({ angle, speed }) {
    return { vector: Float32Array.of(Math.cos(angle), Math.sin(angle), speed) };
  }
}
