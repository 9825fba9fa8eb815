import { may } from "./api.js";
import { h, region, show, toast } from "./dom.js";
import { asked, carryOut } from "./dialogs.js";
import { button, card, conversationLink, empty, facts, field, isRedacted, messageLink, pill, text, time } from "./parts.js";
import { at, capital, long, number, spoken, step } from "./words.js";

const OVER = ["completed", "stored", "suppressed", "failed", "cancelled"];

/** Whether nothing more happens to it by itself. */
const isOver = (one) => OVER.includes(one.state) && one.responses.every(({ state }) => !["pending", "delivering", "retry"].includes(state));

const SHOWN = { ttl: (value) => `lease of ${long(value / 1e6)}`, until: (value) => `until ${at(value)}`, run: (value) => `run ${value}`, from: (value) => `from ${value}`, part: (value) => `part ${value}`, mode: (value) => `mode ${value}` };

function details(event, before) {
  const more = Object.entries(event.detail ?? {}).filter(([name]) => SHOWN[name]).map(([name, value]) => SHOWN[name](value));
  const parts = [event.attempt && `attempt ${event.attempt}`, event.actor, event.epoch !== undefined && `epoch ${event.epoch}`, ...more].filter(Boolean);
  const reason = (one) => [one?.class, one?.reason].filter(Boolean).join(": ");
  const why = reason(event) === reason(before) ? "" : reason(event);
  return [parts.length > 0 && h("span", { cls: "small soft" }, parts.join(" · ")), why && h("span", { cls: "why" }, why)];
}

function journey(one) {
  const first = one.journey[0]?.at;
  const line = (event, n) => {
    const gap = n ? (event.at - one.journey[n - 1].at) / 1e6 : 0;
    const own = !event.message_id || event.message_id === one.id;
    const kind = event.kind === "answered" ? "Answer stored" : capital(spoken(event.kind));
    return h("li", { cls: `${step(event.kind)}${own ? "" : " other"}`, "data-kind": event.kind },
      h("span", { cls: "when" }, n ? time(event.at, `+${long(gap)}`) : time(event.at, at(event.at))),
      h("span", { cls: "dot" }),
      h("div", { cls: "what" }, h("strong", {}, kind, event.detail?.notice ? " (notice)" : "", !own && [" · ", messageLink(event.message_id)]), details(event, one.journey[n - 1])));
  };
  const last = one.journey.at(-1);
  return card("Journey", last && first !== last.at ? `${number(one.journey.length)} steps in ${long((last.at - first) / 1e6)}` : "", h("div", { cls: "body" }, h("ol", { cls: "journey", "aria-label": "Journey" }, one.journey.map(line))));
}

function said(one) {
  const bubble = (value) => h("div", { cls: isRedacted(value) ? "bubble redacted" : "bubble" }, text(value));
  const answer = (response) => h("li", { cls: "said ours" }, bubble(response.text),
    h("span", { cls: "under" }, response.kind === "notice" && h("span", { cls: "tag" }, "notice"), pill(response.state), response.attempts > 1 && `${number(response.attempts)} attempts`,
      response.class && `${response.class}${response.reason ? `: ${response.reason}` : ""}`, time(response.finished_at ?? response.created_at)));
  return card("What was said", undefined, h("div", { cls: "body" }, h("ol", { cls: "talk" },
    h("li", { cls: "said" }, bubble(one.text), h("span", { cls: "under" }, one.platform_user_id, time(one.received_at))),
    one.responses.map(answer),
    one.answered_with && h("li", { cls: "said ours" }, h("span", { cls: "under" }, "Answered together with ", messageLink(one.answered_with))))));
}

function explained(explanation) {
  if (!explanation) return undefined;
  const colour = ["failed"].includes(explanation.state) ? "failed" : ["completed", "stored"].includes(explanation.state) ? "out" : ["held", "suppressed", "cancelled"].includes(explanation.state) ? "wait" : "in";
  return h("div", { cls: `notice ${colour}` }, h("div", { cls: "grow" }, h("p", {}, h("strong", {}, capital(explanation.sentence))), explanation.next && h("p", { cls: "soft" }, explanation.next)));
}

function acts(one, again) {
  if (!may("operate")) return [];
  const why = field("Why, for the record", h("input", { name: "reason", maxlength: 200 }));
  const cancel = async () => {
    const words = await asked("Cancel this message", "It ends if it waits, the turn that works on it is stopped, or its answer is kept back.", why, { word: "Go on", danger: true });
    if (words && (await carryOut("message.cancel", { id: one.id, ...words }, { title: "Cancel this message", word: "Cancel the message", then: "Cancelled" })) !== null) again();
  };
  // What is over and not stuck anywhere starts at the agent again.
  const stuck = one.state === "failed" || one.responses.some(({ state }) => ["dead", "unknown"].includes(state));
  const replay = async () => {
    const words = await asked("Replay this message", stuck ? "It starts again from where it is stuck." : "The agent is asked again, and its answer is delivered again.", why, { word: "Go on" });
    const request = { ids: [one.id], ...(stuck ? {} : { stage: "turn" }), ...words };
    const done = words && (await carryOut("replay.now", request, { title: "Replay this message", word: "Replay it", then: "It was brought back" }));
    if (done) again();
  };
  const copy = () => navigator.clipboard?.writeText(one.id).then(() => toast("The id is copied"), () => {});
  return [button("Copy id", copy, { kind: "quiet" }), !isOver(one) && button("Cancel…", cancel), OVER.includes(one.state) && button("Replay…", replay, { kind: "main-act" })];
}

export const message = {
  title: "Message",
  under: "messages",
  every: 2000,
  async load({ id, ask }) {
    const one = await ask("message.show", { id });
    const explanation = await ask("message.explain", { id: one.id }).catch(() => null);
    return { one, explanation };
  },
  show({ body, acts: place, head, again }) {
    const [why, about, talk, way, buttons] = [region(), region(), region(), region(), region({ cls: "row" })];
    place.append(buttons.place);
    body.append(why.place, h("div", { cls: "pair" }, h("div", { cls: "stack" }, talk.place, about.place), way.place));
    return ({ one, explanation }) => {
      show(head, h("div", { cls: "row" }, h("h1", {}, "Message"), pill(one.state)), h("p", { cls: "mono small" }, one.id));
      document.title = `Message ${one.id.slice(0, 13)} · Broca`;
      why.place.hidden = !explanation;
      why.show(explanation && [explanation.sentence, explanation.next], () => explained(explanation));
      buttons.show([one.state, isOver(one)], () => acts(one, again));
      talk.show([one.text, one.responses, Math.floor(Date.now() / 15000)], () => said(one));
      about.show({ ...one, journey: 0 }, () => card("About it", undefined, h("div", { cls: "body" }, facts([
        ["From", `${one.platform}/${one.platform_user_id}`], ["Through", one.instance], ["Agent", one.agent], ["Route", one.route],
        ["Conversation", conversationLink(one.conversation_id)], ["Attempts", number(one.attempts)], ["Accepted", time(one.received_at, at(one.received_at))],
        one.finished_at && ["Over", `${at(one.finished_at)}, after ${long((one.finished_at - one.received_at) / 1e6)}`],
        one.chat_id && ["Chat", h("span", { cls: "mono" }, one.chat_id)], one.class && ["Class", one.class], one.reason && ["Reason", one.reason],
        one.trace_id && ["Trace", h("span", { cls: "mono small" }, one.trace_id)], one.replays.length > 0 && ["Replayed", `${number(one.replays.length)} times`],
      ]))));
      way.show(one.journey, () => (one.journey.length ? journey(one) : empty("Nothing happened yet")));
    };
  },
};
