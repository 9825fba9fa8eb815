// Elements, made by name. What people wrote becomes text and never markup: there is no way here to make markup of it.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked" || name === "selected" || name === "indeterminate") element[name] = value;
    else element.setAttribute(name === "cls" ? "class" : name, value === true ? "" : String(value));
  }
  add(element, children);
  return element;
}

function add(element, children) {
  for (const child of children.flat(Infinity)) {
    if (child === undefined || child === null || child === false) continue;
    element.append(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

export const h = (name, properties, ...children) => fill(document.createElement(name), properties, children);
export const svg = (name, properties, ...children) => fill(document.createElementNS(SVG, name), properties, children);

/** Puts children into a place, and the focus back to where it was, by `data-key`. */
export function show(place, ...children) {
  const active = document.activeElement;
  const key = place.contains(active) ? active.dataset.key : undefined;
  const scrolled = [...place.querySelectorAll("[data-scroll]")].map((at) => [at.dataset.scroll, at.scrollLeft, at.scrollTop]);
  place.replaceChildren();
  add(place, children);
  if (key) place.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
  for (const [name, left, top] of scrolled) {
    const at = place.querySelector(`[data-scroll="${CSS.escape(name)}"]`);
    if (at) [at.scrollLeft, at.scrollTop] = [left, top];
  }
}

/** A place that is written anew only when what it shows has changed. */
export function region(properties) {
  const place = h("div", properties);
  let last;
  return {
    place,
    show(seen, children) {
      const now = JSON.stringify(seen);
      if (now === last) return;
      last = now;
      show(place, children());
    },
    forget() { last = undefined; },
  };
}

/** Says something to those who do not see the page. */
export function say(text) {
  const place = document.getElementById("said");
  if (place.textContent !== text) place.textContent = text;
}

let fading;
/** Says something to everybody, for a moment. */
export function toast(text) {
  document.querySelector(".toast")?.remove();
  clearTimeout(fading);
  const at = h("div", { cls: "toast" }, text);
  (document.querySelector("dialog[open]") ?? document.body).append(at);
  say(text);
  fading = setTimeout(() => at.remove(), 6000);
}
