// The rules of MinAtar's Breakout. The same as dreamer_lite/worlds/breakout.py, with random numbers
// u in [0, 1). A brick map is 100 numbers, 1 where a brick is.
const WIDTH = 10;
const STAY = 0;
const GO_LEFT = 1;
const GO_RIGHT = 2;
const LAST_ROW = WIDTH - 1;
const STICKY = 0.1; // probability that the last executed action is repeated
const MOST_STEPS = 1000;
const FULL = Array.from({ length: WIDTH * WIDTH }, (_, i) => Number(i >= 10 && i < 40));

export class Breakout {
  reset([u]) {
    const column = u < 0.5 ? 0 : WIDTH - 1;
    return {
      row: 3, column, down: 1, right: column ? -1 : 1, trail_row: 3, trail_column: column,
      paddle: 4, bricks: FULL, strike: false, action: STAY, time: 0,
    };
  }

  step(old, chosen, [u]) {
    const action = u < STICKY ? old.action : chosen;
    const move = (action === GO_RIGHT) - (action === GO_LEFT);
    const paddle = Math.min(Math.max(old.paddle + move, 0), LAST_ROW);

    const row = old.row + old.down;
    const aimed = old.column + old.right;
    const wall = aimed < 0 || aimed > LAST_ROW;
    const column = Math.min(Math.max(aimed, 0), LAST_ROW);

    const top = row < 0;
    const cell = row * WIDTH + column;
    const brick = !top && Boolean(old.bricks[cell]);
    const strikes = brick && !old.strike;
    const floor = row === LAST_ROW;
    const caught = floor && old.column === paddle; // the paddle is where the ball came from
    const edge = floor && !caught && column === paddle; // where it was going to: back it goes
    const lost = floor && !caught && !edge;

    const bounce = strikes || caught || edge;
    let bricks = strikes ? old.bricks.map((on, i) => (i === cell ? 0 : on)) : old.bricks;
    if (floor && !old.bricks.some(Boolean)) bricks = FULL;
    const time = old.time + 1;
    const state = {
      row: top ? 0 : bounce ? old.row : row,
      column,
      down: top || bounce ? -old.down : old.down,
      right: wall !== edge ? -old.right : old.right,
      trail_row: old.row,
      trail_column: old.column,
      paddle, bricks,
      strike: brick, // stays on while the ball crosses bricks
      action, time,
    };
    return { state, reward: Number(strikes), isLast: lost || time >= MOST_STEPS, isTerminal: lost };
  }

  /** Planes: paddle, ball, trail, bricks. */
  observe(state) {
    const image = new Uint8Array(WIDTH * WIDTH * 4);
    image[(LAST_ROW * WIDTH + state.paddle) * 4] = 255;
    image[(state.row * WIDTH + state.column) * 4 + 1] = 255;
    image[(state.trail_row * WIDTH + state.trail_column) * 4 + 2] = 255;
    state.bricks.forEach((on, i) => (image[i * 4 + 3] = on ? 255 : 0));
    return { image };
  }
}
