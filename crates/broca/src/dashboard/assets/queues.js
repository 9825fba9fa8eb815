import { h, region } from "./dom.js";
import { card, conversationLink, empty, messageLink, pill, table, tile, time } from "./parts.js";
import { long, number, plural, until } from "./words.js";

function stands(conversation) {
  if (conversation.owner) return [pill("processing", "in hand"), h("span", { cls: "sub mono" }, conversation.owner)];
  if (conversation.parked || conversation.not_before) {
    const what = { endpoint: "its endpoint to answer", slot: "a free turn", agent: "its agent to be configured", window: "more messages" }[conversation.parked] ?? "its next attempt";
    return [pill("parked", `parked for ${what}`), conversation.not_before && h("span", { cls: "sub" }, until(conversation.not_before))];
  }
  return pill("waiting");
}

const CONVERSATIONS = [
  ["Conversation", ({ id }) => conversationLink(id)],
  ["Agent", ({ agent }) => agent],
  ["State", stands],
  ["Waiting", ({ waiting }) => number(waiting), "number"],
  ["First message", ({ first }) => (first ? [messageLink(first.message_id), h("span", { cls: "sub" }, first.instance)] : "–")],
  ["Since", ({ first }) => (first ? time(first.since) : "–")],
];

const CONSUMERS = [
  ["Consumer", ({ consumer, stream }) => [h("strong", { cls: "mono" }, consumer), h("span", { cls: "sub" }, stream)]],
  ["Waiting", ({ pending }) => number(pending), "number"],
  ["In hand", ({ ack_pending: hand }) => number(hand), "number"],
  ["Came again", ({ redelivered }) => number(redelivered), "number"],
  ["State", ({ problem, pending }) => (problem ? [pill("failed", "cannot be asked"), h("span", { cls: "sub" }, problem)] : pending ? pill("waiting", "behind") : pill("done", "up to date"))],
];

function tiles(numbers) {
  return h("div", { cls: "tiles" },
    tile("Waiting", number(numbers.conversations_waiting), "", "conversations nobody has taken yet", { tone: "in" }),
    tile("In hand", number(numbers.conversations_in_hand), "", "held by a worker", { tone: "turn" }),
    tile("Parked", number(numbers.conversations_parked), "", "tried again later", { tone: "wait" }),
    tile("Oldest message", numbers.oldest_message_s === null ? "–" : long(numbers.oldest_message_s), "", numbers.oldest_message_s === null ? "all are over" : "accepted and not over"),
    tile("Answers to deliver", number(numbers.answers), "", numbers.oldest_answer_s === null ? "none waits" : `the oldest for ${long(numbers.oldest_answer_s)}`, { tone: "out" }),
    tile("Owed to the broker", number(numbers.owed_publishes), "", numbers.oldest_owed_s === null ? "it has everything" : `the oldest for ${long(numbers.oldest_owed_s)}`, { alarm: numbers.oldest_owed_s > 60 }));
}

export const queues = {
  title: "Queues",
  lead: "What waits, where, and how far each consumer is behind.",
  every: 3000,
  async load({ ask }) {
    const [numbers, busy, lag] = await Promise.all([
      ask("metrics.show"), ask("conversation.busy", { limit: 100 }), ask("queue.show").catch((error) => { if (error.status === 401 || error.name === "AbortError") throw error; return { error }; }),
    ]);
    return { numbers, busy, lag };
  },
  show({ body }) {
    const places = [region(), region(), region()];
    body.append(...places.map(({ place }) => place));
    return ({ numbers, busy, lag }) => {
      places[0].show(numbers, () => tiles(numbers));
      const seconds = Math.floor(Date.now() / 5000);
      places[1].show([busy, seconds], () => card("Conversations with work", busy.items.length ? `${plural(busy.items.length, "conversation")}, those first that are looked at first` : "",
        busy.items.length ? table(CONVERSATIONS, busy.items, { label: "Conversations with work", key: ({ id }) => id }) : empty("Nothing waits", "Every accepted message is over.")));
      places[2].show(lag.error ? lag.error.message : lag, () => card("Consumers", lag.error ? "" : `NATS ${lag.broker.version}, ${lag.broker.name}`,
        lag.error ? empty("The broker cannot be asked", lag.error.message) : table(CONSUMERS, lag.consumers, { label: "Consumers", key: ({ consumer }) => consumer })));
    };
  },
};
