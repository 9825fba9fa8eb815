// A replay: what it comes to, written down as a plan; then, once somebody has confirmed it, a few items at a time.

import { act, confirmed } from "./api.js";
import { h, say } from "./dom.js";
import { open } from "./dialogs.js";
import { bar, button, field, messageLink, pill, problem, table, text } from "./parts.js";
import { long, number, plural } from "./words.js";

/** Items that one call deals with, so that there is something to see. */
const AT_ONCE = 20;
const SHOWN = 100;

/** Gives whether something was moved. */
export function planReplay(what) {
  return new Promise((done) => {
    const state = { moved: false };
    const dialog = open("Plan a replay", "Nothing moves before you have seen what it comes to.", (at) => reason(at, what, state));
    dialog.addEventListener("close", () => done(state.moved));
  });
}

function reason({ close, fill }, what, state, trouble) {
  const why = h("input", { name: "reason", maxlength: 200, "data-key": "why" });
  const rate = h("input", { name: "rate", type: "number", min: 1, max: 1000, value: 10 });
  const go = async (event) => {
    event.preventDefault();
    try {
      const { answer } = await act("replay.plan", { ...what, ...(why.value.trim() ? { reason: why.value.trim() } : {}) });
      if (answer.plan) planned({ close, fill }, answer, { reason: why.value.trim() || null, rate: Number(rate.value) || 10 }, state);
      else fill(h("p", {}, "No open dead letter is like that any more."), button("Close", close, { kind: "main-act" }), "Nothing to replay", "");
    } catch (error) {
      reason({ close, fill }, what, state, error);
    }
  };
  fill([h("form", { id: "why", onsubmit: go }, h("div", { cls: "filters" }, field("Why, for the record", why, { wide: true }), field("A second, at most", rate))), trouble && problem(trouble)],
    [button("Cancel", close), h("button", { cls: "button main-act", form: "why", "data-key": "draft" }, "Show the plan")]);
}

const COLUMNS = [
  ["Message", (item) => [messageLink(item.message_id), h("span", { cls: "sub" }, `${item.instance} · ${item.platform_user_id}`)]],
  ["From", ({ stage, age_s: age }) => [stage === "turn" ? "the agent on" : "the delivery on", h("span", { cls: "sub" }, `${long(age)} old`)]],
  ["Goes out", ({ now, then }) => [text(now.line), now.agent !== then.agent || now.route !== then.route ? h("span", { cls: "sub" }, `by ${now.route}, then by ${then.route}`) : h("span", { cls: "sub" }, `${now.agent}${now.mode ? `, ${now.mode}` : ""}`)], "cut full"],
  ["Mind", ({ warnings }) => (warnings.length ? [pill("parked", plural(warnings.length, "warning")), warnings.map((warning) => h("span", { cls: "sub wrap" }, warning))] : "–"), "full"],
];

function planned(at, { plan, draft }, how, state) {
  const { summary, items } = draft;
  const figure = (value, name) => h("div", {}, h("strong", {}, value), h("span", {}, name));
  const stages = Object.entries(summary.stages).map(([stage, count]) => `${number(count)} from the ${stage === "turn" ? "agent" : "delivery"} on`).join(", ");
  at.fill([
    h("div", { cls: "figures" }, figure(number(summary.messages), "messages"), figure(number(summary.conversations), "conversations"), figure(number(summary.warnings), "with warnings"), summary.oldest_s !== null && figure(long(summary.oldest_s), "oldest")),
    h("p", { cls: "soft" }, `${stages}. At ${number(how.rate)} a second it takes about ${long(summary.messages / how.rate)}. People and agents hear of it.`),
    summary.more && h("div", { cls: "notice wait" }, "There are more than fit into one plan: these are the newest."),
    h("div", { cls: "plan", tabindex: "0", role: "region", "aria-label": "What the plan has" }, table(COLUMNS, items.slice(0, SHOWN), { label: "What the plan has" })),
    items.length > SHOWN && h("p", { cls: "small soft" }, `and ${number(items.length - SHOWN)} more`),
    draft.left_out.length > 0 && h("div", { cls: "notice wait" }, h("div", {}, draft.left_out.slice(0, 5).map((one) => h("p", {}, messageLink(one.message_id), ` ${one.reason}`)))),
  ], [button("Leave it", at.close), button(`Replay ${plural(summary.messages, "message")}…`, () => sure(at, plan, how, state), { kind: "main-act", key: "sure" })], "The plan", h("span", {}, "Plan ", h("span", { cls: "mono" }, plan), ", good for a day"));
}

const request = (plan, { rate, reason: why }) => ({ plan, rate, at_most: AT_ONCE, reason: why });

/** The server says what it would do, and gives the word for it. */
async function sure(at, plan, how, state) {
  try {
    const { proposal } = await act("replay.apply", request(plan, how));
    at.fill([h("p", {}, "This would ", proposal.would, "."), h("p", { cls: "soft" }, "The messages go back to the end of their conversations' queues and are answered again. What happened before is kept.")],
      [button("Cancel", at.close), button(`Replay ${plural(proposal.count, "message")}`, () => go(at, plan, how, proposal, state), { kind: "danger", key: "confirm" })], "Are you sure?", "");
  } catch (error) {
    at.fill(problem(error), button("Close", at.close), "It was not done", "");
  }
}

/** A plan is dealt with a few items at a time. Each call needs a word of its own; what was confirmed is the plan. */
async function go(at, plan, how, first, state) {
  const total = first.count;
  let [proposal, replayed, skipped] = [first, 0, []];
  const progress = (left, more, footer) => at.fill([h("p", {}, `${number(total - left)} of ${number(total)} dealt with`), bar(total - left, total, `${total - left} of ${total}`), more], footer, left ? "Replaying" : "Replayed", "");
  progress(total, undefined, []);
  try {
    for (let left = total; left > 0;) {
      const { report } = await confirmed("replay.apply", request(plan, how), proposal);
      [replayed, skipped, left, state.moved] = [replayed + report.replayed, report.skipped, report.left, true];
      if (report.stopped || !left) return done(at, { left, total, replayed, skipped, stopped: report.stopped });
      progress(left, undefined, []);
      proposal = (await act("replay.apply", request(plan, how))).proposal;
      if (proposal.count > left) return done(at, { left, total, replayed, skipped, stopped: "the plan has come to touch more than was confirmed" });
    }
  } catch (error) {
    at.fill([problem(error), h("p", { cls: "soft" }, `${plural(replayed, "message")} were replayed before. The plan can be applied again: each item is dealt with once.`)], button("Close", at.close), "It stopped", "");
  }
  return undefined;
}

function done(at, { left, total, replayed, skipped, stopped }) {
  say(`${plural(replayed, "message")} replayed`);
  at.fill([
    h("div", { cls: "figures", "data-done": "" }, h("div", {}, h("strong", {}, number(replayed)), h("span", {}, "replayed")), h("div", {}, h("strong", {}, number(skipped.length)), h("span", {}, "skipped")), left > 0 && h("div", {}, h("strong", {}, number(left)), h("span", {}, "left"))),
    bar(total - left, total),
    stopped && h("div", { cls: "notice failed" }, stopped),
    skipped.slice(0, 20).map((item) => h("p", { cls: "small" }, messageLink(item.message_id), ` ${item.reason ?? ""}`)),
    h("p", { cls: "soft" }, "They are on their way: each message's journey tells what becomes of it."),
  ], button("Close", at.close, { kind: "main-act", key: "close" }), stopped ? "It stopped" : "Replayed", "");
}
