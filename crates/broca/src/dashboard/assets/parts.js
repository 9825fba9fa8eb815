// What stands on several pages.

import { h, show } from "./dom.js";
import { ago, brief, capital, exactly, number, spoken, tone } from "./words.js";

export const pill = (state, text = spoken(state), colour = tone(state)) => h("span", { cls: `pill ${colour}` }, text);

/** A time as its age, with the time itself for whoever points at it. */
export const time = (micros, text = ago(micros)) => (micros ? h("time", { datetime: new Date(micros / 1000).toISOString(), title: exactly(micros) }, text) : "–");

export const messageLink = (id, text = brief(id)) => h("a", { href: `#/message/${id}`, cls: "mono id", title: id, "data-key": `message-${id}` }, text);
export const conversationLink = (id, text = brief(id)) => h("a", { href: `#/conversation/${id}`, cls: "mono id", title: id, "data-key": `conversation-${id}` }, text);

const REDACTED = /^\[redacted: (\d+) characters\]$/;
/** A text of somebody, or its length where it may not be read. */
export function text(value) {
  const hidden = REDACTED.exec(value ?? "");
  return hidden ? h("span", { cls: "redacted", title: "Your token may not read what people and agents wrote" }, `${hidden[1]} characters, hidden`) : (value ?? "");
}
export const isRedacted = (value) => REDACTED.test(value ?? "");

export const empty = (title, more) => h("div", { cls: "empty" }, h("strong", {}, title), more && h("p", {}, more));
export const loading = () => h("p", { cls: "loading" }, "Loading…");

export function problem(error, again) {
  return h("div", { cls: "notice failed", role: "alert" },
    h("div", { cls: "grow" }, h("p", {}, h("strong", {}, capital(error.message))), error.hint && h("p", { cls: "soft" }, error.hint)),
    again && h("button", { cls: "button tiny", type: "button", onclick: again }, "Try again"));
}

/** Columns are `[name, cell, kind]`: the cell of an item, and `number`, `cut`, `full` or `check`. */
export function table(columns, items, { label, key = (item, n) => n, selected } = {}) {
  const head = columns.map(([name, , kind = ""]) => h("th", { scope: "col", cls: kind }, typeof name === "string" && kind.includes("check") ? h("span", { cls: "hidden" }, name) : name));
  const row = (item, n) => h("tr", { "data-row": key(item, n), "aria-selected": selected ? String(selected(item)) : undefined },
    columns.map(([name, cell, kind = ""]) => h("td", { cls: kind, "data-name": typeof name === "string" && !kind.includes("check") ? name : undefined }, cell(item, n))));
  return h("div", { cls: "scroll", "data-scroll": label }, h("table", { cls: "folds" }, h("caption", { cls: "hidden" }, label), h("thead", {}, h("tr", {}, head)), h("tbody", {}, items.map(row))));
}

export function card(title, more, ...body) {
  return h("section", { cls: "card" }, h("header", {}, h("div", {}, h("h2", {}, title), typeof more === "string" ? h("p", {}, more) : undefined), typeof more === "string" ? undefined : more), body);
}

export function tile(name, value, unit, note, { tone: colour, chart, href, alarm } = {}) {
  const inside = [h("span", { cls: "name" }, colour && h("i"), name), h("span", { cls: "value" }, value, unit && h("small", {}, unit)), h("span", { cls: "note" }, note), chart];
  const properties = { cls: alarm ? "tile alarm" : "tile", "data-tone": colour };
  return href ? h("a", { ...properties, href, "data-key": name }, inside) : h("div", properties, inside);
}

export const facts = (pairs) => h("dl", { cls: "facts" }, pairs.filter(Boolean).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value ?? "–"))));

export const bar = (value, most, label) => {
  const filled = h("span");
  filled.style.width = `${most ? Math.min(100, (100 * value) / most) : 0}%`;
  return h("span", { cls: "bar", role: "img", "aria-label": label ?? `${number(value)} of ${number(most)}` }, filled);
};

export const field = (label, control, { wide, hint } = {}) => h("label", { cls: wide ? "field wide" : "field" }, h("span", {}, label), control, hint && h("small", {}, hint));
export const options = (pairs, chosen) => pairs.map(([value, name]) => h("option", { value, selected: value === chosen }, name));
export const button = (text, onclick, { kind = "", disabled, title, key } = {}) => h("button", { cls: `button ${kind}`, type: "button", onclick, disabled, title, "data-key": key }, text);

/** What a form has filled in; what is empty is left out. */
export function filled(form) {
  return Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== "").map(([name, value]) => [name, String(value).trim()]));
}

/** The filters that stand in the address, so that a page can be sent to somebody. */
export function remember(path, values) {
  const query = new URLSearchParams(values).toString();
  const hash = `#/${path}${query ? `?${query}` : ""}`;
  if (location.hash !== hash) history.replaceState(null, "", hash);
}

/** A form, and below it what it finds, a page at a time. `fetch` gives a page, `list` shows all so far, `instead` may do something else. */
export function searched({ name, form, body, instead = () => false, fetch, list }) {
  const [found, pages] = [h("div"), { items: [], cursor: null, filter: {} }];
  let round = 0;
  const draw = () => show(found, list(pages));
  const look = async (more) => {
    const filter = filled(form);
    if (instead(filter)) return;
    const mine = ++round;
    pages.filter = filter;
    remember(name, filter);
    try {
      const page = await fetch(filter, more ? pages.cursor : null);
      if (mine !== round) return;
      pages.items = more ? pages.items.concat(page.items) : page.items;
      pages.cursor = page.next_cursor;
      draw();
    } catch (error) {
      if (mine === round && error.status !== 401) show(found, problem(error, () => look(more)));
    }
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); look(false); });
  form.addEventListener("change", () => look(false));
  body.append(h("section", { cls: "card" }, h("div", { cls: "body" }, form)), found);
  return { look, draw };
}
