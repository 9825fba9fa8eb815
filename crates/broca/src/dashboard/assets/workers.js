import { h, region } from "./dom.js";
import { bar, card, conversationLink, empty, messageLink, pill, table, time } from "./parts.js";
import { long, number, now, plural, serverIs, until } from "./words.js";

const WORKERS = [
  ["Worker", ({ id, host, pid }) => [h("strong", { cls: "mono" }, id), h("span", { cls: "sub" }, `${host}, process ${pid}`)]],
  ["State", ({ alive, draining }) => (!alive ? pill("gone", "gone without a word") : draining ? pill("stopping") : pill("works"))],
  ["Conversations", ({ in_use: used, slots }) => [`${number(used)} of ${number(slots)}`, bar(used, slots)]],
  ["Version", ({ version }) => version],
  ["Started", ({ started_at: at }) => time(at)],
  ["Last sign", ({ seen_at: at }) => time(at)],
];

const LEASES = [
  ["Conversation", ({ conversation_id: id }) => conversationLink(id)],
  ["Message", ({ message_id: id, messages }) => [messageLink(id), messages > 1 && h("span", { cls: "sub" }, `and ${messages - 1} more in the same turn`)]],
  ["Agent", ({ agent }) => agent],
  ["Worker", ({ worker, owner }) => [h("span", { cls: "mono" }, worker), owner && owner !== worker && h("span", { cls: "sub" }, `held by ${owner} now`)]],
  ["In turn for", ({ started_at: at }) => long((now() - at) / 1e6), "number"],
  ["Attempt", ({ attempt }) => number(attempt), "number"],
  ["Lease", ({ lease_until: at, epoch }) => [at > now() ? pill("done", `good for ${long((at - now()) / 1e6)}`) : pill("failed", "ran out"), h("span", { cls: "sub" }, `epoch ${epoch}`)]],
];

const ENDPOINTS = [
  ["Endpoint", ({ endpoint }) => h("strong", { cls: "mono" }, endpoint)],
  ["State", ({ state, probe }) => (state === "closed" ? pill("waiting", "asked") : state === "open" ? pill("open", "not asked") : [pill("half_open", "one turn let through"), probe && h("span", { cls: "sub" }, `by ${probe}`)])],
  ["Failures", ({ failures }) => number(failures), "number"],
  ["Next", ({ state, open_until: at }) => (state === "open" ? until(at) : "–")],
  ["Why", ({ reason }) => reason ?? "–", "full"],
];

const PARKED = [
  ["Agent", ({ agent }) => h("strong", {}, agent)],
  ["Conversations", ({ conversations }) => number(conversations), "number"],
  ["Wait for", ({ what_for: what }) => ({ endpoint: "its endpoint to answer", slot: "one of its turns to end", agent: "somebody to configure it", window: "more messages to answer with it" })[what] ?? what],
  ["Next", ({ next }) => until(next)],
];

export const workers = {
  title: "Workers",
  lead: "Who works, on which conversations, under which leases.",
  every: 2000,
  async load({ ask }) {
    const answer = await ask("worker.list", { limit: 200 });
    serverIs(answer.now);
    return answer;
  },
  show({ body }) {
    const places = [region(), region(), region(), region()];
    body.append(...places.map(({ place }) => place));
    return (all) => {
      const tick = Math.floor(now() / 2e6);
      places[0].show([all.workers, tick], () => card("Processes", all.workers.length ? `${plural(all.workers.filter((one) => one.alive).length, "worker")} at work` : "",
        all.workers.length ? table(WORKERS, all.workers, { label: "Processes", key: ({ id }) => id }) : empty("Nobody works", "Start a worker with `broca up` or `broca worker`.")));
      places[1].show([all.turns, tick], () => card("Turns under way", all.turns.length ? `${plural(all.turns.length, "turn")}, the oldest first` : "",
        all.turns.length ? table(LEASES, all.turns, { label: "Turns under way", key: ({ turn_id: id }) => id }) : empty("No agent is being asked", "Turns appear here while they last.")));
      places[2].place.hidden = !all.endpoints.length;
      places[2].show([all.endpoints, tick], () => card("Endpoints in trouble", "Agents that failed lately", table(ENDPOINTS, all.endpoints, { label: "Endpoints in trouble", key: ({ endpoint }) => endpoint })));
      places[3].place.hidden = !all.parked.length;
      places[3].show([all.parked, tick], () => card("Parked", "Conversations that wait for something other than a worker", table(PARKED, all.parked, { label: "Parked", key: ({ agent, what_for: what }) => agent + what })));
    };
  },
};
