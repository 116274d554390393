// Grid observations as sprites in cells of 32 pixels. See dreamer_lite/worlds/sprites.py.
const CELL = 32;
const GRID = 10;
const WHITE = "rgb(250,250,245)";
const SKY = "rgb(86,180,233)";
const BRICK_COLOURS = ["rgb(213,94,0)", "rgb(230,159,0)", "rgb(0,158,115)"]; // rows 1 to 3
const TILE = "rgb(24,27,37)";
const NIGHT = "rgb(15,18,28)";
const FAINT = 1 / 512; // below this nothing is drawn

function box(context, top, bottom, left, right, radius) {
  context.beginPath();
  context.roundRect(left, top, right - left, bottom - top, radius);
  context.fill();
}

function disc(context, radius) {
  context.beginPath();
  context.arc(CELL / 2, CELL / 2, radius, 0, 7);
  context.fill();
}

/** Draws layers [plane, sprite(context, row)]; a plane's value is the opacity of its sprite. */
function drawGrid(context, image, planes, layers) {
  context.globalAlpha = 1;
  for (let i = 0; i < GRID * GRID; i++) {
    const row = Math.floor(i / GRID);
    context.setTransform(1, 0, 0, 1, (i % GRID) * CELL, row * CELL);
    context.globalAlpha = 1;
    context.fillStyle = NIGHT;
    context.fillRect(0, 0, CELL, CELL);
    context.fillStyle = TILE;
    box(context, 1, CELL - 1, 1, CELL - 1, 3);
    for (const [plane, sprite] of layers) {
      const value = Math.min(Math.max(image[i * planes + plane], 0), 1);
      if (value < FAINT) continue;
      context.globalAlpha = value;
      sprite(context, row);
    }
  }
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.globalAlpha = 1;
}

function ball(context) {
  context.fillStyle = WHITE;
  disc(context, 10);
  context.globalAlpha *= 0.15;
  disc(context, 14);
}

function paddle(top, bottom) {
  return (context) => {
    context.fillStyle = SKY;
    box(context, top, bottom, 0, CELL, 6);
  };
}

function trail(context) {
  context.globalAlpha *= 0.35;
  context.fillStyle = WHITE;
  disc(context, 6);
}

function brick(context, row) {
  context.fillStyle = BRICK_COLOURS[row - 1] ?? BRICK_COLOURS[2];
  box(context, 4, 28, 2, 30, 4);
}

export function drawCatch(context, { image }) {
  drawGrid(context, image, 2, [[0, paddle(12, 28)], [1, ball]]);
}

export function drawBreakout(context, { image }) {
  drawGrid(context, image, 4, [[3, brick], [2, trail], [0, paddle(6, 18)], [1, ball]]);
}

/** Where a plane is most on: [index of the cell, value]. */
function likeliest(image, planes, plane) {
  let best = [0, -1];
  for (let i = 0; i < GRID * GRID; i++) {
    if (image[i * planes + plane] > best[1]) best = [i, image[i * planes + plane]];
  }
  return best;
}

function sayBall(image, planes, plane) {
  const [cell, value] = likeliest(image, planes, plane);
  if (value < 0.05) return "no ball";
  const place = `ball in row ${Math.floor(cell / GRID) + 1}, column ${(cell % GRID) + 1}`;
  return value < 0.95 ? `${place} (${Math.round(100 * value)} %)` : place;
}

function sayPaddle(image, planes) {
  return `paddle in column ${(likeliest(image, planes, 0)[0] % GRID) + 1}`;
}

export function sayCatch({ image }) {
  return `${sayBall(image, 2, 1)}, ${sayPaddle(image, 2)}`;
}

export function sayBreakout({ image }) {
  let bricks = 0;
  for (let i = 0; i < GRID * GRID; i++) bricks += image[i * 4 + 3] > 0.5;
  return `${sayBall(image, 4, 1)}, ${sayPaddle(image, 4)}, ${bricks} bricks`;
}
