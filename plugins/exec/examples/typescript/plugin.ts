// A plugin in TypeScript, with nothing but Node's own library: `npm ci && npm run build`, then
// `broca plugin exec --instance line-chat -- node build/plugin.js`.
//
// Its platform is the scripted one that `broca rehearse platform` runs: HTTP and JSON, polled for what people write, and
// asked whether it has an answer. A real platform's API stands where the class Platform is; the rest stays as it is.

import { createInterface } from "node:readline";

type Fields = Record<string, unknown>;
type Failure = "blocked" | "not_found" | "rejected" | "rate_limited" | "unavailable" | "timeout";

interface Hello {
  type: "hello";
  settings: { url?: string; max_text_chars?: number };
}

interface Order {
  type: "deliver" | "settle";
  id: number;
  response: { id: string; rest: string; chat_id: string | null; parts: { text_end: number }[] };
  profile: { platform_user_id: string };
}

type Told =
  | Hello
  | Order
  | { type: "accepted" | "refused" | "unavailable"; id: number; reason?: string }
  | { type: "part_recorded" | "part_lost"; id: number }
  | { type: "shutdown" };

/** The other end of standard input and output: one JSON object a line. */
class Host {
  private asked = 0;
  readonly answers = new Map<number, (answer: { type: string; reason?: string }) => void>();
  readonly records = new Map<number, (recorded: boolean) => void>();

  say(type: string, fields: Fields): void {
    process.stdout.write(JSON.stringify({ v: 1, type, ...fields }) + "\n");
  }

  ingest(message: Fields): Promise<{ type: string; reason?: string }> {
    const id = ++this.asked;
    return new Promise((resolve) => {
      this.answers.set(id, resolve);
      this.say("ingest", { id, message });
    });
  }

  /** Notes a part of an answer; says whether it is on record. */
  part(id: number, platform_message_id: string, text_bytes: number): Promise<boolean> {
    return new Promise((resolve) => {
      this.records.set(id, resolve);
      this.say("part", { id, platform_message_id, text_bytes });
    });
  }

  /** No answer comes any more: nothing is confirmed, and nothing more of an answer is sent. */
  close(): void {
    for (const resolve of this.answers.values()) resolve({ type: "unavailable", reason: "the host stops" });
    for (const resolve of this.records.values()) resolve(false);
  }
}

interface Update {
  update_id: number;
  user: string;
  chat_id: string | null;
  text: string;
}

interface Sent {
  message_id: string;
  bytes: number;
  last: boolean;
}

class Platform {
  constructor(private readonly url: string) {}

  call(path: string, body?: Fields, stop?: AbortSignal): Promise<Response> {
    const signals = [AbortSignal.timeout(15_000), ...(stop ? [stop] : [])];
    const init: RequestInit = { signal: AbortSignal.any(signals) };
    if (body) {
      init.method = "POST";
      init.headers = { "content-type": "application/json" };
      init.body = JSON.stringify(body);
    }
    return fetch(this.url.replace(/\/$/, "") + path, init);
  }

  async updates(offset: number, waitMs: number, stop: AbortSignal): Promise<Update[]> {
    const reply = await this.call(`/updates?offset=${offset}&limit=50&wait_ms=${waitMs}`, undefined, stop);
    if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
    return ((await reply.json()) as { updates: Update[] }).updates;
  }

  /** What the platform has of an answer. */
  async sent(responseId: string): Promise<Sent[]> {
    const reply = await this.call(`/sent/${responseId}`);
    if (reply.status === 404) return [];
    if (!reply.ok) throw new Error(`HTTP ${reply.status}`);
    return ((await reply.json()) as { parts: Sent[] }).parts;
  }
}

class Plugin {
  private readonly stopping = new AbortController();

  constructor(
    private readonly host: Host,
    private readonly platform: Platform,
    private readonly maxChars: number | undefined,
  ) {}

  stop(): void {
    this.stopping.abort();
  }

  /** What people write goes in; the platform forgets an update only when the next poll is behind it. */
  async poll(): Promise<void> {
    let offset = 0;
    let connected: boolean | undefined;
    while (!this.stopping.signal.aborted) {
      let problem = "";
      try {
        offset = await this.take(offset, connected ? 2_000 : 0);
      } catch (error) {
        problem = `the platform does not answer: ${String(error)}`;
      }
      if (this.stopping.signal.aborted) return;
      if (connected !== (problem === "")) {
        connected = problem === "";
        this.host.say("state", { state: connected ? "connected" : "degraded", detail: problem });
      }
      if (problem) await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }

  private async take(from: number, waitMs: number): Promise<number> {
    let offset = from;
    const updates = await this.platform.updates(offset, waitMs, this.stopping.signal);
    for (const update of updates.sort((a, b) => a.update_id - b.update_id)) {
      const answer = await this.host.ingest({
        event_id: String(update.update_id),
        sender: { platform_user_id: update.user, username: update.user },
        chat_id: update.chat_id,
        text: update.text,
      });
      // Not confirmed: the platform gives it again.
      if (answer.type === "unavailable") throw new Error(answer.reason);
      offset = update.update_id + 1; // Accepted, or refused for good.
    }
    return offset;
  }

  /** One answer goes out, in as many messages as the platform wants for it. */
  async deliver(order: Order): Promise<void> {
    const { id, response } = order;
    let rest = [...response.rest];
    for (let part = response.parts.length; ; part++) {
      const piece = rest.slice(0, this.maxChars).join("");
      rest = this.maxChars ? rest.slice(this.maxChars) : [];
      let reply: Response;
      let sent: string;
      try {
        reply = await this.platform.call("/send", {
          response_id: response.id,
          user: order.profile.platform_user_id,
          chat_id: response.chat_id,
          text: piece,
          part,
          last: rest.length === 0,
        });
        if (!reply.ok) return this.refused(id, reply);
        sent = ((await reply.json()) as { message_id: string }).message_id;
      } catch (error) {
        if (notReached(error)) return this.host.say("retry", { id, class: "unavailable", reason: String(error) });
        // It may have it, or not: `settle` asks.
        return this.host.say("unknown", { id, class: "timeout", reason: String(error) });
      }
      if (rest.length === 0) return this.host.say("delivered", { id, platform_message_ids: [sent] });
      // Else somebody else goes on with it.
      if (!(await this.host.part(id, sent, Buffer.byteLength(piece)))) return;
    }
  }

  private refused(id: number, reply: Response): void {
    const failed = (type: "retry" | "dead", failure: Failure, more: Fields = {}) =>
      this.host.say(type, { id, class: failure, reason: `the platform answered ${reply.status}`, ...more });
    if (reply.status === 429) {
      failed("retry", "rate_limited", { after_ms: Number(reply.headers.get("retry-after") ?? "1") * 1000 });
    } else if (reply.status === 403) failed("dead", "blocked");
    else if (reply.status >= 500) failed("retry", "unavailable");
    else failed("dead", "rejected");
  }

  /** A delivery was cut off: does the platform have the answer? */
  async settle(order: Order): Promise<void> {
    const settled = (outcome: string, more: Fields = {}) => this.host.say("settled", { id: order.id, outcome, ...more });
    let sent: Sent[];
    try {
      sent = await this.platform.sent(order.response.id);
    } catch {
      return settled("cannot_tell");
    }
    if (sent.length === 0) return settled("not_delivered");
    if (sent.at(-1)?.last) return settled("delivered", { platform_message_ids: sent.map((part) => part.message_id) });
    let text_end = 0;
    const parts = sent.map((part) => ({ platform_message_id: part.message_id, text_end: (text_end += part.bytes) }));
    settled("partly", { parts });
  }
}

/** Whether there was not even a connection. */
function notReached(error: unknown): boolean {
  const cause = error instanceof Error ? (error.cause as { code?: string } | undefined) : undefined;
  return ["ECONNREFUSED", "ENOTFOUND"].includes(cause?.code ?? "");
}

async function main(): Promise<void> {
  const host = new Host();
  let plugin: Plugin | undefined;
  const underWay = new Set<Promise<void>>();
  const begin = (work: Promise<void>) => {
    underWay.add(work);
    void work.finally(() => underWay.delete(work));
  };
  for await (const line of createInterface({ input: process.stdin })) {
    const told = JSON.parse(line) as Told;
    if (told.type === "hello") {
      const { url, max_text_chars } = told.settings;
      if (!url) return host.say("failed", { cause: "settings", reason: "url is missing: say where the platform is" });
      plugin = new Plugin(host, new Platform(url), max_text_chars);
      const capabilities = { settles: true, max_text_chars: max_text_chars ?? null };
      host.say("ready", { name: "typescript-example", version: "1.0.0", capabilities });
      begin(plugin.poll());
    } else if (told.type === "deliver" && plugin) begin(plugin.deliver(told));
    else if (told.type === "settle" && plugin) begin(plugin.settle(told));
    else if (told.type === "part_recorded" || told.type === "part_lost") {
      host.records.get(told.id)?.(told.type === "part_recorded");
      host.records.delete(told.id);
    } else if (told.type === "accepted" || told.type === "refused" || told.type === "unavailable") {
      host.answers.get(told.id)?.(told);
      host.answers.delete(told.id);
    } else if (told.type === "shutdown") break;
  }
  plugin?.stop();
  host.close();
  await Promise.allSettled(underWay);
}

await main();
process.exit();
