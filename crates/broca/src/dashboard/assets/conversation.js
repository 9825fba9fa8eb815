import { ask, may } from "./api.js";
import { h, region, show } from "./dom.js";
import { newHold } from "./holds.js";
import { button, card, empty, facts, isRedacted, messageLink, pill, text, time } from "./parts.js";
import { at, long, now, number, until } from "./words.js";

const PAGE = 40;

function bubble(value) {
  return h("div", { cls: isRedacted(value) ? "bubble redacted" : "bubble" }, text(value));
}

function line(one) {
  return [
    h("li", { cls: "said" }, bubble(one.text), h("span", { cls: "under" },
      h("span", {}, one.display_name ?? one.platform_user_id), time(one.received_at, at(one.received_at)), one.state !== "completed" && pill(one.state), one.class && one.state !== "completed" && one.class, messageLink(one.message_id))),
    one.answers.map((answer) => h("li", { cls: "said ours" }, bubble(answer.text), h("span", { cls: "under" },
      answer.kind === "notice" && h("span", { cls: "tag" }, "notice"), pill(answer.state), answer.attempts > 1 && `${number(answer.attempts)} attempts`,
      answer.state !== "delivered" && answer.class, time(answer.finished_at ?? answer.created_at, at(answer.finished_at ?? answer.created_at))))),
  ];
}

export const conversation = {
  title: "Conversation",
  under: "messages",
  every: 3000,
  load: ({ id, ask: look }) => look("conversation.show", { id, limit: PAGE }),
  show({ id, body, acts, head, again }) {
    const [about, talk] = [region(), region()];
    // What was seen stays: the page of the last ones moves on while one looks.
    const known = new Map();
    let cursor;
    body.append(about.place, talk.place);
    if (may("operate")) acts.append(button("Hold…", () => newHold({ kind: "conversation", subject: id }).then((made) => made && again())));
    return (shown) => {
      const one = shown.conversation;
      if (cursor === undefined) cursor = shown.next_cursor;
      show(head, h("div", { cls: "row" }, h("h1", {}, "Conversation"), one.owner ? pill("processing", "in hand") : one.waiting ? pill("waiting") : pill("done", "nothing waits")), h("p", { cls: "mono small" }, one.id));
      about.show([one, Math.floor(Date.now() / 5000)], () => card("About it", undefined, h("div", { cls: "body" }, facts([
        ["Agent", one.agent], ["Scope", h("span", { cls: "mono small" }, one.scope)], ["Waiting", number(one.waiting)],
        ["Held by", one.owner ? h("span", { cls: "mono" }, one.owner) : "nobody"],
        one.lease_until && ["Lease", `epoch ${one.epoch}, good for ${long((one.lease_until - now()) / 1e6)}`],
        one.not_before && ["Next attempt", until(one.not_before)], one.parked && ["Parked for", one.parked],
        one.agent_conversation && ["At the agent", h("span", { cls: "mono small" }, one.agent_conversation)], ["Begun", time(one.created_at, at(one.created_at))],
      ]))));
      for (const line of shown.items) known.set(line.message_id, line);
      const all = [...known.values()].sort((a, b) => a.received_at - b.received_at);
      const more = async (event) => {
        event.currentTarget.disabled = true;
        const page = await ask("conversation.show", { id, limit: PAGE, cursor });
        for (const line of page.items) known.set(line.message_id, line);
        cursor = page.next_cursor;
        talk.forget();
        again();
      };
      talk.show([all, cursor], () => card("What was said", all.length ? `${number(all.length)} messages${cursor ? ", the last ones" : ""}` : "", h("div", { cls: "body" },
        cursor !== null && cursor !== undefined && h("p", { cls: "earlier" }, button("Earlier ones", more, { kind: "tiny", key: "more" })),
        all.length ? h("ol", { cls: "talk", "aria-label": "What was said" }, all.map(line)) : empty("Nothing was said"))));
    };
  },
};
