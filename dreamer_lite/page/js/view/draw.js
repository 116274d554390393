// How observations look, real or decoded, on a canvas; and what they say in words.
// Values are those of the decoder: images in [0, 1], so that an uncertain ball is a faint ball.
import { drawBreakout, drawCatch, sayBreakout, sayCatch } from "./draw_grids.js";
import { drawPendulum, drawWalker, sayPendulum, sayWalker } from "./draw_bodies.js";
import { isImage } from "../agent/networks.js";

export const GROUND = "rgb(15,18,28)";
const LINE = "rgb(105,110,120)";
const POINT = "rgb(86,180,233)";
const NAME = "rgb(240,240,235)";

const MOST_SAID = 8; // numbers of an observation, for its words

/** {draw(context, values), say(values), width, height} for the observations of an environment. */
export function painterOf(world, spaces, ranges) {
  if (world === "minatar/breakout") return square(drawBreakout, sayBreakout);
  if (world === "pendulum") return square(drawPendulum, sayPendulum);
  if (world === "catch" || world.startsWith("catch/")) return square(drawCatch, sayCatch);
  if (world.startsWith("dmc/walker-") && spaces.orientations) return square(drawWalker, sayWalker);
  const image = Object.keys(spaces).sort().find((key) => isImage(spaces[key]));
  if (image) {
    const [h, w, c] = spaces[image].shape;
    const draw = (context, values) => drawPixels(context, values[image], h, w, c);
    return { draw, say: () => "", width: w, height: h, pixels: true };
  }
  const names = namesOf(spaces);
  return square(
    (context, values) => drawGauges(context, values, ranges, names),
    (values) => (names.length <= MOST_SAID ? sayNumbers(names, allNumbers(values)) : ""),
  );
}

const sayNumbers = (names, all) => names.map((name, i) => `${name} ${all[i].toFixed(2)}`).join(", ");

const square = (draw, say) => ({ draw, say, width: 320, height: 320 });

/** A real observation as the decoder would put it: images in [0, 1], classes as probabilities. */
export function asValues(obs, spaces) {
  const values = Object.create(null);
  for (const [key, space] of Object.entries(spaces)) {
    if (isImage(space)) values[key] = Float32Array.from(obs[key], (x) => x / 255);
    else if (space.classes) {
      values[key] = new Float32Array(obs[key].length * space.classes);
      obs[key].forEach((c, i) => (values[key][i * space.classes + c] = 1));
    } else values[key] = obs[key];
  }
  return values;
}

/** An image; of other numbers of channels than 3, the mean is drawn in grey. */
function drawPixels(context, values, h, w, c) {
  const image = context.createImageData(w, h);
  for (let i = 0; i < h * w; i++) {
    const cell = values.subarray(i * c, (i + 1) * c);
    const grey = cell.reduce((a, b) => a + b) / c;
    for (let k = 0; k < 3; k++) image.data[i * 4 + k] = 255 * (c === 3 ? cell[k] : grey);
    image.data[i * 4 + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

/** All numbers of an observation, by key. */
const allNumbers = (values) => Object.keys(values).sort().flatMap((key) => [...values[key]]);

/** A name for each of them. */
function namesOf(spaces) {
  return Object.keys(spaces).sort().flatMap((key) => {
    const { shape, classes } = spaces[key];
    const size = shape.reduce((product, n) => product * n, 1) * Math.max(1, classes);
    return Array.from({ length: size }, (_, i) => (size > 1 ? `${key} ${i}` : key));
  });
}

/** A line per number with a point where it stands between the extremes that were recorded. */
function drawGauges(context, values, ranges, names) {
  const all = allNumbers(values);
  context.fillStyle = GROUND;
  context.fillRect(0, 0, 320, 320);
  const step = 320 / all.length;
  const named = step >= 16; // else there is no room
  const left = named ? 120 : 16;
  context.font = "14px system-ui, sans-serif";
  context.textBaseline = "middle";
  all.forEach((value, i) => {
    const [low, high] = ranges[i];
    const place = Math.min(Math.max((value - low) / Math.max(high - low, 1e-8), 0), 1);
    const y = (i + 0.5) * step;
    context.fillStyle = LINE;
    context.fillRect(left, y - 1, 304 - left, 2);
    context.fillStyle = NAME;
    if (named) context.fillText(names[i], 8, y, left - 20);
    context.fillStyle = POINT;
    context.beginPath();
    context.arc(left + (304 - left) * place, y, Math.min(8, 0.4 * step), 0, 7);
    context.fill();
  });
}
