import { may } from "./api.js";
import { h, region } from "./dom.js";
import { asked, carryOut } from "./dialogs.js";
import { button, card, conversationLink, empty, field, options, pill, table, time } from "./parts.js";
import { ago, brief, number, plural, until } from "./words.js";

const KINDS = [["instance", "Plugin instance"], ["agent", "Agent"], ["route", "Route"], ["user", "Person"], ["conversation", "Conversation"]];
const NAMES = Object.fromEntries(KINDS);
const TIMES = [["", "until it is released"], ["10m", "10 minutes"], ["1h", "1 hour"], ["8h", "8 hours"], ["1d", "1 day"]];

/** Asks for what is to be kept back, and puts it on hold. Gives the hold, or nothing. */
export async function newHold({ kind, subject, reason, life } = {}) {
  const words = await asked("New hold", "Messages are still accepted; they wait until the hold ends.", [h("div", { cls: "two" },
    field("What", h("select", { name: "kind" }, options(KINDS, kind))),
    field("Which", h("input", { name: "subject", required: true, value: subject ?? "", placeholder: "name or id", autocomplete: "off" })),
    field("Why; everybody who looks sees it", h("input", { name: "reason", required: true, maxlength: 200, value: reason ?? "" }), { wide: true }),
    field("For", h("select", { name: "life" }, options(TIMES, life)), { wide: true }))], { word: "Hold" });
  if (!words) return null;
  const request = { on: { [words.kind]: words.subject }, reason: words.reason, ...(words.life ? { for: words.life } : {}) };
  // What was refused is mended, not typed again.
  return (await carryOut("hold.add", request, { title: "New hold", then: "On hold" })) ?? newHold(words);
}

async function release(hold, again) {
  const words = await asked("Release this hold", `${plural(hold.messages, "message")} that it took out of their queues go on, in their order.`, field("Why, for the record", h("input", { name: "reason", maxlength: 200 })), { word: "Release" });
  if (words && (await carryOut("hold.release", { ids: [hold.id], ...words }, { title: "Release this hold", then: "Released" })) !== null) again();
}

function columns(again) {
  return [
    ["What", ({ kind, subject }) => [kind === "conversation" ? conversationLink(subject) : kind === "user" ? h("span", { cls: "mono", title: subject }, brief(subject)) : h("strong", {}, subject), h("span", { cls: "sub" }, NAMES[kind] ?? kind)]],
    ["State", ({ state, actor }) => [pill(state, undefined, state === "over" ? "" : undefined), actor === "broca" && h("span", { cls: "sub" }, "it kept failing")]],
    ["Why", ({ reason, actor }) => [h("span", { cls: "wrap" }, reason), h("span", { cls: "sub" }, actor)], "full"],
    ["Kept back", ({ messages }) => number(messages), "number"],
    ["Since", ({ created_at: at }) => time(at)],
    ["Until", (hold) => (hold.released_at ? [`released ${ago(hold.released_at)}`, h("span", { cls: "sub" }, hold.released_by)] : hold.expires_at ? time(hold.expires_at, hold.state === "active" ? until(hold.expires_at) : ago(hold.expires_at)) : "it is released")],
    may("operate") && ["", (hold) => hold.state === "active" && button("Release…", () => release(hold, again), { kind: "tiny", key: `release-${hold.id}` })],
  ].filter(Boolean);
}

export const holds = {
  title: "Holds",
  lead: "What is kept back, since when, until when and why.",
  every: 3000,
  load: ({ ask }) => ask("hold.list", { all: true }),
  show({ body, acts, again }) {
    const [open, over] = [region(), region()];
    if (may("operate")) acts.append(button("New hold…", () => newHold().then((made) => made && again()), { kind: "main-act" }));
    body.append(open.place, over.place);
    return ({ items }) => {
      const tick = Math.floor(Date.now() / 10_000);
      const [on, ended] = [items.filter(({ state }) => state !== "over"), items.filter(({ state }) => state === "over").slice(0, 30)];
      open.show([on, tick], () => card("On hold", on.length ? plural(on.length, "hold") : "", on.length ? table(columns(again), on, { label: "On hold", key: ({ id }) => id }) : empty("Nothing is on hold", "Everything that is accepted goes on at once.")));
      over.place.hidden = !ended.length;
      over.show([ended, tick], () => card("Over", "The last ones", table(columns(again), ended, { label: "Over", key: ({ id }) => id })));
    };
  },
};
