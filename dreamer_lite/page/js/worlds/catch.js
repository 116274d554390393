// The rules of Catch. The same as dreamer_lite/worlds/catch.py, with random numbers u in [0, 1).
const SIZE = 10;
const RIGHT = 2;
const LEFT = 1;
const KINK = 2; // columns
const KINK_ROW = 5;
const isHiddenRow = (row) => row >= 3 && row < 7;

export class Catch {
  constructor({ hidden = false, kink = false } = {}) {
    this.hidden = hidden; // the ball is not seen in some rows
    this.kink = kink; // it jumps to one side, in one row
  }

  reset([u]) {
    const margin = this.kink ? KINK : 0;
    return { row: 0, column: margin + Math.floor(u * (SIZE - 2 * margin)), paddle: 5 };
  }

  step(state, action, [u]) {
    const move = (action === RIGHT) - (action === LEFT);
    const paddle = Math.min(Math.max(state.paddle + move, 0), SIZE - 1);
    const row = state.row + 1;
    let { column } = state;
    if (this.kink && row === KINK_ROW) column += u < 0.5 ? KINK : -KINK;
    const lands = row === SIZE - 1;
    const reward = lands && column === paddle ? 1 : 0;
    return { state: { row, column, paddle }, reward, isLast: lands, isTerminal: lands };
  }

  /** Planes: paddle, ball. */
  observe({ row, column, paddle }) {
    const image = new Uint8Array(SIZE * SIZE * 2);
    image[((SIZE - 1) * SIZE + paddle) * 2] = 255;
    if (!(this.hidden && isHiddenRow(row))) image[(row * SIZE + column) * 2 + 1] = 255;
    return { image };
  }
}
