// Elements of the page. All text goes in as text, so nothing in an agent file is read as HTML.

/** An element; properties that begin with "on" are listeners, `true` is a bare attribute. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** A button with a name, a key that does the same, and what it is good for. */
export function button(label, press, { key = "", about = "" } = {}) {
  const hint = key ? `${about} (key ${key})` : about;
  return el("button", { type: "button", title: hint || null, onclick: press }, label);
}

/** A labelled slider; `change` gets its number. */
export function slider(label, { min, max, step, value }, change) {
  const shown = el("output", {}, String(value));
  const input = el("input", { type: "range", min, max, step, value });
  input.addEventListener("input", () => {
    shown.textContent = input.value;
    change(Number(input.value));
  });
  return el("label", {}, `${label} `, input, " ", shown);
}

/** A picture with a name; one of few `pixels` is enlarged without blur. */
export function canvas(width, height, label, pixels = false) {
  return el("canvas", { width, height, role: "img", "aria-label": label, class: pixels && "pixels" });
}

/** A number with so many decimals; never "-0.00". */
export function fixed(x, decimals) {
  const text = x.toFixed(decimals);
  return Number(text) === 0 ? text.replace("-", "") : text;
}

export const percent = (p) => `${Math.round(100 * p)}\u00a0%`; // in one line

/** How long a bar is. */
export function setBar(bar, p) {
  bar.style.width = `${Math.round(100 * p)}%`;
}
