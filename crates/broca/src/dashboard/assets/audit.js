import { ask } from "./api.js";
import { h } from "./dom.js";
import { open } from "./dialogs.js";
import { button, card, empty, facts, field, options, pill, searched, table, time } from "./parts.js";
import { at, brief, number } from "./words.js";

const PAGE = 50;
const OUTCOMES = [["", "Any"], ["done", "done"], ["failed", "failed"], ["refused", "refused"], ["begun", "begun"]];
const SINCE = [["", "Any time"], ["1h", "Last hour"], ["1d", "Last day"], ["7d", "Last week"]];

function details(act) {
  const json = (value) => h("pre", { cls: "wrap mono small" }, JSON.stringify(value, null, 2));
  open(act.operation, `${act.actor}, ${at(act.at)}`, ({ close, fill }) => fill([
    facts([["Outcome", pill(act.outcome)], ["Way", act.via], act.ended_at && ["Ended", at(act.ended_at)], act.reason && ["Why", act.reason], act.error && ["Error", act.error]]),
    act.subjects.length > 0 && h("div", {}, h("h3", {}, "About"), h("p", { cls: "mono small wrap" }, act.subjects.join(", "))),
    h("div", {}, h("h3", {}, "Asked"), json(act.request)),
    act.before && h("div", {}, h("h3", {}, "Before"), json(act.before)),
    act.after && h("div", {}, h("h3", {}, "After"), json(act.after)),
  ], button("Close", close, { kind: "main-act" })));
}

const COLUMNS = [
  ["When", ({ at: micros }) => time(micros, at(micros)), "nowrap"],
  ["Who", ({ actor }) => h("strong", {}, actor)],
  ["What", (act) => h("button", { cls: "button quiet tiny mono", type: "button", "data-key": `act-${act.id}`, onclick: () => details(act) }, act.operation)],
  ["Outcome", ({ outcome }) => pill(outcome)],
  ["About", ({ subjects }) => (subjects.length ? h("span", { cls: "mono small" }, brief(subjects[0]), subjects.length > 1 && ` +${number(subjects.length - 1)}`) : "–")],
  ["Why", ({ error, reason }) => error ?? reason ?? "–", "cut full"],
];

export const audit = {
  title: "Audit log",
  lead: "What operators did, whichever way they came, the newest first.",
  async load() { return null; },
  show({ body, query }) {
    const input = (name, placeholder) => h("input", { name, value: query[name] ?? "", placeholder, autocomplete: "off", spellcheck: "false" });
    const form = h("form", { cls: "filters", role: "search", "aria-label": "Audit log" },
      field("Who", input("actor", "cli:ann")), field("What", input("operation", "hold.add")), field("About", input("subject", "an id")),
      field("Outcome", h("select", { name: "outcome" }, options(OUTCOMES, query.outcome))), field("Since", h("select", { name: "since" }, options(SINCE, query.since))),
      h("div", { cls: "row" }, h("button", { cls: "button main-act" }, "Filter")));
    const { look } = searched({
      name: "audit", form, body,
      fetch: (filter, cursor) => ask("audit.list", { ...filter, limit: PAGE, cursor }),
      list: ({ items, cursor }) => card("Acts", `${number(items.length)}${cursor ? " so far" : ""}`,
        items.length ? table(COLUMNS, items, { label: "Acts", key: ({ id }) => id }) : empty("Nothing was done", "What somebody changes is written down here."),
        cursor && h("footer", {}, button("Older ones", () => look(true), { key: "more" }))),
    });
    return () => look(false);
  },
};
