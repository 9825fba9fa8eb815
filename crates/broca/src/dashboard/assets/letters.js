import { ask, may, mayRead } from "./api.js";
import { h } from "./dom.js";
import { asked, carryOut } from "./dialogs.js";
import { button, card, empty, field, messageLink, options, pill, searched, table, text, time } from "./parts.js";
import { planReplay } from "./replay.js";
import { number, plural, spoken } from "./words.js";

const PAGE = 50;
const SINCE = [["", "Any time"], ["1h", "Last hour"], ["1d", "Last day"], ["7d", "Last week"]];

export const letters = {
  title: "Dead letters",
  lead: "Messages that failed and answers that could not be delivered. A replay shows its plan first.",
  async load() { return null; },
  show({ body, query }) {
    const [form, chosen] = [filterForm(query), new Set()];
    const { look, draw } = searched({
      name: "letters", form, body,
      fetch: (filter, cursor) => ask("dlq.list", { filter, limit: PAGE, cursor }),
      list: ({ items, cursor, filter }) => {
        const there = new Set(items.map(({ message_id: id }) => id));
        for (const id of chosen) if (!there.has(id)) chosen.delete(id);
        return list({ items, cursor, chosen, filter, draw, look });
      },
    });
    return () => look(false);
  },
};

function filterForm(query) {
  const input = (name, properties = {}) => h("input", { name, value: query[name] ?? "", autocomplete: "off", spellcheck: "false", ...properties });
  return h("form", { cls: "filters", role: "search", "aria-label": "Dead letters" },
    field("Stuck at", h("select", { name: "stage" }, options([["", "Any"], ["turn", "the agent"], ["delivery", "the delivery"]], query.stage))),
    field("Failed", h("select", { name: "since" }, options(SINCE, query.since))),
    field("Class", input("class", { placeholder: "rejected" })),
    field("Plugin", input("instance", { placeholder: "telegram" })),
    field("Agent", input("agent", { placeholder: "default" })),
    field("Person", input("user", { placeholder: "platform id" })),
    mayRead() && field("Says", input("contains", { type: "search", "data-search": "" })),
    h("div", { cls: "row" }, h("button", { cls: "button main-act" }, "Filter")));
}

function list({ items, cursor, chosen, filter, draw, look }) {
  if (!items.length) {
    const filtered = Object.keys(filter).length > 0;
    return card(filtered ? "Nothing was found" : "No dead letters", undefined, filtered ? empty("No open dead letter is like that", "Leave some of the filters out.") : empty("Nothing failed that nobody dealt with", "What fails for good appears here, with the reason."));
  }
  const turn = (id, on) => { chosen[on ? "add" : "delete"](id); draw(); };
  const all = h("input", { type: "checkbox", "aria-label": "All of these", "data-key": "all", checked: chosen.size === items.length, indeterminate: chosen.size > 0 && chosen.size < items.length,
    onchange: (event) => { items.forEach(({ message_id: id }) => chosen[event.target.checked ? "add" : "delete"](id)); draw(); } });
  const columns = [
    may("operate") && [all, ({ message_id: id }) => h("input", { type: "checkbox", "aria-label": `Choose ${id}`, "data-key": `choose-${id}`, checked: chosen.has(id), onchange: (event) => turn(id, event.target.checked) }), "check"],
    ["Message", ({ message_id: id, failed_at: at }) => [messageLink(id), h("span", { cls: "sub" }, time(at))]],
    ["Stuck at", ({ stage, state, class: kind }) => [pill(state === "unknown" ? "unknown" : "failed", spoken(kind ?? state)), h("span", { cls: "sub" }, stage === "turn" ? "at the agent" : "in delivery")]],
    ["From", (one) => [one.username ?? one.platform_user_id, h("span", { cls: "sub" }, `${one.instance} · ${one.platform_user_id}`)]],
    ["Agent", ({ agent }) => agent],
    ["Attempts", ({ attempts, replays }) => [number(attempts), replays > 0 && h("span", { cls: "sub" }, `replayed ${number(replays)}×`)], "number"],
    ["Why", ({ reason, text: said }) => [reason ?? "–", h("span", { cls: "sub" }, text(said))], "cut full"],
  ].filter(Boolean);
  return h("section", { cls: "card" }, h("header", {}, h("div", {}, h("h2", {}, "Open"), h("p", {}, `${plural(items.length, "letter")}${cursor ? " so far" : ""}${chosen.size ? `, ${number(chosen.size)} chosen` : ""}`)), may("operate") && acts({ items, chosen, filter, look })),
    table(columns, items, { label: "Dead letters", key: ({ message_id: id }) => id, selected: ({ message_id: id }) => chosen.has(id) }),
    cursor && h("footer", {}, button("Older ones", () => look(true), { key: "more" })));
}

function acts({ items, chosen, filter, look }) {
  const ids = items.map(({ message_id: id }) => id).filter((id) => chosen.has(id));
  const what = ids.length ? { ids } : { filter };
  const many = ids.length ? number(ids.length) : Object.keys(filter).length ? "all found" : "all";
  const resolve = async () => {
    const words = await asked(`Resolve ${many}`, "Says that nothing more is to be done about them. They are listed no more, and can still be replayed.", field("Note, for whoever looks later", h("input", { name: "note", maxlength: 200 })), { word: "Go on", danger: true });
    if (words && (await carryOut("dlq.resolve", { ...what, ...words }, { title: `Resolve ${many}`, word: "Resolve them", then: "Resolved" })) !== null) {
      chosen.clear();
      look(false);
    }
  };
  return h("div", { cls: "row" },
    (ids.length > 0 || Object.keys(filter).length > 0) && button(`Resolve ${many}…`, resolve, { key: "resolve" }),
    button(`Plan a replay of ${many}…`, () => planReplay(what).then((moved) => { if (moved) { chosen.clear(); look(false); } }), { kind: "main-act", key: "plan" }));
}
