// The pendulum, and the walker of the DeepMind Control Suite from its height and orientations.
const BODY_GROUND = "rgb(15,18,28)";
const BODY_LIGHT = "rgb(250,250,245)";
const ORANGE = "rgb(230,159,0)";
const BLUE = "rgb(86,180,233)";
const TOP_MARK = "rgb(0,158,115)";
const degrees = (angle) => `${Math.round((angle * 180) / Math.PI)}°`;

function clear(context) {
  context.fillStyle = BODY_GROUND;
  context.fillRect(0, 0, 320, 320);
}

function line(context, from, to, width, colour) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.lineCap = "round";
  context.beginPath();
  context.moveTo(...from);
  context.lineTo(...to);
  context.stroke();
}

function dot(context, [x, y], radius, colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.arc(x, y, radius, 0, 7);
  context.fill();
}

/** The rod, and an arc that shows its speed; a short rod is uncertain of its angle. */
export function drawPendulum(context, { vector: [cos, sin, speed] }) {
  clear(context);
  const middle = [160, 160];
  const angle = Math.atan2(sin, cos); // 0 upright, anticlockwise
  const length = 112 * Math.min(Math.hypot(cos, sin), 1.1);
  const tip = [160 - length * Math.sin(angle), 160 - length * Math.cos(angle)];
  context.strokeStyle = "rgb(60,63,72)";
  context.lineWidth = 2;
  context.beginPath();
  context.arc(...middle, 112, 0, 7);
  context.stroke();
  dot(context, [160, 10], 5, TOP_MARK);
  const sweep = 0.25 * Math.min(Math.max(speed, -8), 8); // where the tip is after 0.25 s
  const start = -Math.PI / 2 - angle; // as a canvas measures angles
  context.strokeStyle = BLUE;
  context.lineWidth = 8;
  context.beginPath();
  context.arc(...middle, 138, start, start - sweep, sweep > 0);
  context.stroke();
  line(context, middle, tip, 16, ORANGE);
  dot(context, tip, 14, BODY_LIGHT);
  dot(context, middle, 5, BODY_GROUND);
}

export function sayPendulum({ vector: [cos, sin, speed] }) {
  return `rod at ${degrees(Math.atan2(sin, cos))} from upright, ${speed.toFixed(1)} rad/s`;
}

const LIMBS = ["right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle"];

/** The absolute angles of torso, right thigh, leg and foot, left thigh, leg and foot. */
function angles({ orientations }) {
  return Array.from({ length: 7 }, (_, i) =>
    Math.atan2(orientations[2 * i + 1], orientations[2 * i]),
  );
}

/** Lengths in metres are those of the suite's walker.xml; x to the right, z upwards. */
export function drawWalker(context, values) {
  clear(context);
  const [torso, ...limbs] = angles(values);
  const pixel = ([x, z]) => [140 + 150 * x, 280 - 150 * z];
  const turned = ([x, z], angle, dx, dz) => [
    x + dx * Math.cos(angle) + dz * Math.sin(angle),
    z - dx * Math.sin(angle) + dz * Math.cos(angle),
  ];
  const bone = (from, to, width, colour) =>
    line(context, pixel(from), pixel(to), 300 * width, colour);
  line(context, [0, 281], [320, 281], 2, "rgb(105,110,120)");
  const middle = [0, values.height[0]];
  const hip = turned(middle, torso, 0, -0.3);
  for (const [leg, colour] of [[limbs.slice(3), BLUE], [limbs.slice(0, 3), ORANGE]]) {
    const [thigh, shin, foot] = leg;
    const knee = turned(hip, thigh, 0, -0.45);
    const ankle = turned(knee, shin, 0, -0.5);
    bone(hip, knee, 0.05, colour);
    bone(knee, ankle, 0.04, colour);
    bone(turned(ankle, foot, -0.04, 0), turned(ankle, foot, 0.16, 0), 0.05, colour);
  }
  bone(turned(middle, torso, 0, 0.3), hip, 0.07, BODY_LIGHT);
}

/** The torso's height and angle, and the six joints. */
export function sayWalker(values) {
  const [torso, ...limbs] = angles(values);
  const joints = LIMBS.map((name, i) => {
    const above = i % 3 === 0 ? torso : limbs[i - 1];
    const bend = above - limbs[i];
    return `${name} ${degrees(Math.atan2(Math.sin(bend), Math.cos(bend)))}`;
  });
  return `torso ${values.height[0].toFixed(2)} m high, leaning ${degrees(torso)}; ${joints.join(", ")}`;
}
