import { ask, mayRead } from "./api.js";
import { h } from "./dom.js";
import { button, card, empty, field, messageLink, options, pill, searched, table, text, time } from "./parts.js";
import { at, number, spoken } from "./words.js";

const PAGE = 50;
const STATES = ["received", "processing", "completed", "stored", "suppressed", "failed", "cancelled", "held"].map((state) => [state, spoken(state)]);
const SINCE = [["", "Any time"], ["15m", "Last 15 minutes"], ["1h", "Last hour"], ["1d", "Last day"], ["7d", "Last week"]];
const ID = /^[0-9a-f]{8}-?[0-9a-f-]*$/i;

const COLUMNS = [
  ["Message", ({ message_id: id, received_at: micros }) => [messageLink(id), h("span", { cls: "sub" }, time(micros, at(micros)))]],
  ["State", ({ state, class: kind, answer_state: answer }) => [pill(state), h("span", { cls: "sub" }, (kind && spoken(kind)) ?? (answer && answer !== "delivered" ? `answer ${spoken(answer)}` : answer ?? ""))]],
  ["From", (one) => [one.display_name ?? one.username ?? one.platform_user_id, h("span", { cls: "sub" }, `${one.instance} · ${one.platform_user_id}`)]],
  ["Agent", ({ agent, route }) => [agent, route !== agent && h("span", { cls: "sub" }, route)]],
  ["Text", ({ text: said }) => text(said), "cut full"],
];

export const messages = {
  title: "Messages",
  lead: "Every accepted message, the newest first.",
  async load() { return null; },
  show({ body, query }) {
    const { look } = searched({
      name: "messages", form: filterForm(query), body,
      instead: ({ contains }) => {
        const isId = Boolean(contains) && ID.test(contains);
        if (isId) location.hash = `#/message/${contains}`;
        return isId;
      },
      fetch: (filter, cursor) => ask("message.list", { filter, limit: PAGE, cursor }),
      list: ({ items, cursor }) => list(items, cursor, () => look(true)),
    });
    return () => look(false);
  },
};

function filterForm(query) {
  const input = (name, properties = {}) => h("input", { name, value: query[name] ?? "", autocomplete: "off", spellcheck: "false", ...properties });
  const search = input("contains", { "data-search": "", type: "search", placeholder: mayRead() ? "Text, or an id" : "An id" });
  return h("form", { cls: "filters", role: "search", "aria-label": "Messages" },
    field("Search", search, { wide: true }),
    field("State", h("select", { name: "state" }, options([["", "Any"], ...STATES], query.state))),
    field("Accepted", h("select", { name: "since" }, options(SINCE, query.since))),
    field("Plugin", input("instance", { placeholder: "telegram" })),
    field("Agent", input("agent", { placeholder: "default" })),
    field("Person", input("user", { placeholder: "platform id" })),
    h("div", { cls: "row" }, h("button", { cls: "button main-act" }, "Search")));
}

function list(items, cursor, more) {
  if (!items.length && !cursor) return card("Nothing was found", undefined, empty("No message is like that", "Leave some of the filters out."));
  return card("Found", `${number(items.length)}${cursor ? " so far" : ""}`,
    items.length ? table(COLUMNS, items, { label: "Messages", key: ({ message_id: id }) => id }) : empty("None among those looked at", "There are more to look through."),
    cursor && h("footer", {}, button(items.length ? "Older ones" : "Look further", more, { key: "more" })));
}
