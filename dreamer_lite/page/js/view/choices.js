// What a reader may choose: actions with a name, in the order of a pad, and the arrows for them.
const MOST_BUTTONS = 9;
const RARE = 0.005; // an action that the agent takes less often gets no button, if there are many
const PAD = ["left", "stay", "noop", "nothing", "right", "up", "down", "fire"];
const ALWAYS = ["left", "right", "up", "down"]; // have a button, because they have an arrow

/** [{label, about, action, index, arrow}]; `index` is that of the policy's probability. */
export function choicesOf({ world, action_space: space, action_names: names, used }) {
  const choices = space.classes ? discrete(names, used) : continuous(world, names);
  for (const arrow of ["left", "right", "up", "down"]) {
    const found = choices.find((choice) => choice.label === arrow);
    if (found) found.arrow = arrow;
  }
  return choices;
}

function discrete(names, used) {
  const all = names.map((label, index) => ({ label, about: "", action: index, index }));
  const place = ({ label }) => (PAD.indexOf(label) + 99) % 99; // not in PAD: last
  const wanted = ({ label, index }) => (ALWAYS.includes(label) ? 1 : 0) + used[index];
  const often = all
    .filter((x) => names.length <= MOST_BUTTONS || wanted(x) >= RARE)
    .sort((a, b) => wanted(b) - wanted(a))
    .slice(0, MOST_BUTTONS);
  return often.sort((a, b) => place(a) - place(b) || a.index - b.index);
}

/** No action, and each dimension alone at either end. */
function continuous(world, names) {
  const zero = names.map(() => 0);
  const alone = (i, value) => zero.map((_, k) => (k === i ? value : 0));
  if (world === "pendulum") {
    return [
      { label: "left", about: "torque of 2 N m, anticlockwise", action: [1] },
      { label: "nothing", about: "no torque", action: [0] },
      { label: "right", about: "torque of 2 N m, clockwise", action: [-1] },
    ];
  }
  const ends = names.flatMap((name, i) =>
    [-1, 1].map((value) => ({
      label: `${name.replaceAll("_", " ")} ${value < 0 ? "−" : "+"}`,
      about: "all others 0",
      action: alone(i, value),
    })),
  );
  return [{ label: "nothing", about: "every action 0", action: zero }, ...ends];
}

/** An action in words. */
export function sayAction(action, { action_space: space, action_names: names, world }) {
  if (space.classes) return names[action];
  if (world === "pendulum") return `torque ${(2 * Math.min(Math.max(action[0], -1), 1)).toFixed(1)} N m`;
  return [...action].map((x, i) => `${names[i].replaceAll("_", " ")} ${x.toFixed(1)}`).join(", ");
}
