// The program by itself: the test is its host, and its platform. `npm test` runs it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

type Line = { type: string; [key: string]: any };

const servers: Server[] = [];
after(() => servers.forEach((server) => (server.closeAllConnections(), server.close())));

/** Has one update, and answers sends with this status. */
async function platform(status: number) {
  const log = { sent: [] as { text: string }[], confirmed: false, url: "" };
  const server = createServer(async (request, response) => {
    if (request.method === "POST") {
      let body = "";
      for await (const piece of request) body += piece;
      log.sent.push(JSON.parse(body));
      response.writeHead(status).end(JSON.stringify({ message_id: "m1" }));
      return;
    }
    const isNew = request.url?.includes("offset=0") ?? false;
    if (!isNew) await new Promise((resolve) => setTimeout(resolve, 50));
    log.confirmed ||= !isNew;
    const update = { update_id: 7, user: "alice", chat_id: null, text: "hi" };
    response.end(JSON.stringify({ updates: isNew ? [update] : [] }));
  });
  servers.push(server);
  await once(server.listen(0, "127.0.0.1"), "listening");
  log.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return log;
}

class Program {
  private readonly child = spawn(process.execPath, [fileURLToPath(new URL("./plugin.js", import.meta.url))], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  private readonly lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();

  constructor(settings: object) {
    this.tell({ type: "hello", instance: "x", platform: "x", settings });
  }

  tell(line: Line): void {
    this.child.stdin.write(JSON.stringify({ v: 1, ...line }) + "\n");
  }

  async hears(type: string): Promise<Line> {
    for (;;) {
      const { value, done } = await this.lines.next();
      if (done) throw new Error(`it ended before it said ${type}`);
      const line = JSON.parse(value) as Line;
      if (line.type === type) return line;
    }
  }

  deliver(text: string): void {
    const response = { id: "r1", text, rest: text, chat_id: null, attempt: 1, parts: [] };
    this.tell({ type: "deliver", id: 1, response, profile: { platform_user_id: "alice" } });
  }

  async stop(): Promise<void> {
    const ended = once(this.child, "exit");
    this.child.stdin.end();
    assert.deepEqual(await ended, [0, null]);
  }
}

test("a message goes in and an answer out", async () => {
  const log = await platform(200);
  const program = new Program({ url: log.url });
  await program.hears("ready");
  const report = await program.hears("ingest");
  assert.deepEqual([report.message.event_id, report.message.text], ["7", "hi"]);
  assert.equal(log.confirmed, false, "not before it is accepted");
  program.tell({ type: "accepted", id: report.id, message_id: "1", duplicate: false });
  program.deliver("hello");
  assert.deepEqual((await program.hears("delivered")).platform_message_ids, ["m1"]);
  assert.equal(log.sent[0]?.text, "hello");
  await program.stop();
});

test("whoever blocked it is not tried again", async () => {
  const log = await platform(403);
  const program = new Program({ url: log.url });
  await program.hears("ready");
  program.deliver("hello");
  assert.equal((await program.hears("dead")).class, "blocked");
  await program.stop();
});

test("without an address it says what is missing", async () => {
  const program = new Program({});
  assert.equal((await program.hears("failed")).cause, "settings");
});
