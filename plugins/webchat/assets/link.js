// The way to the server: messages out one after the other until each is taken, answers in as they come.

const TIMEOUT_MS = 20000;
const FIRST_PAUSE_MS = 1000;
const LAST_PAUSE_MS = 15000;

class Refused extends Error {
  constructor(status, text, wait) {
    super(text);
    this.status = status;
    this.wait = wait;
  }

  // The same again may be taken.
  get isForNow() {
    return this.status === 429 || this.status === 0 || this.status >= 500;
  }
}

class Link {
  constructor(base, session, told) {
    this.base = base;
    this.session = session;
    this.told = told;
    this.last = 0;
    this.pause = FIRST_PAUSE_MS;
    this.queue = [];
    this.isSending = false;
    this.wake = () => {};
    addEventListener("online", () => this.hurry());
    addEventListener("offline", () => this.told.state("offline"));
  }

  address(action, query = {}) {
    const url = new URL("api/v1/", this.base);
    url.search = new URLSearchParams({ action, ...query });
    return url.href;
  }

  async call(action, query, body) {
    const options = { signal: AbortSignal.timeout(TIMEOUT_MS), credentials: "omit", cache: "no-store" };
    if (body) Object.assign(options, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" } });
    let response;
    try {
      response = await fetch(this.address(action, query), options);
    } catch {
      throw new Refused(0, "No connection", 0);
    }
    const reply = await response.json().catch(() => null);
    if (response.ok && reply?.success) return reply.data;
    throw new Refused(response.status, reply?.error ?? `The server answered ${response.status}`, reply?.retry_after ?? 0);
  }

  conversation() {
    return this.call("conversation", { session_id: this.session.id });
  }

  // Takes a message on its way; it arrives after all that were given before it.
  send(message) {
    this.queue.push(message);
    if (!this.isSending) this.work();
  }

  async work() {
    this.isSending = true;
    let pause = FIRST_PAUSE_MS;
    while (this.queue.length > 0) {
      const message = this.queue[0];
      try {
        const taken = await this.call("messages", {}, {
          session_id: this.session.id, message: message.text, client_message_id: message.client, visitor: this.session.visitor,
        });
        this.queue.shift();
        this.session.done(message.client);
        this.told.sent(message, taken);
        pause = FIRST_PAUSE_MS;
      } catch (error) {
        if (error.isForNow) {
          this.told.waits(message, error);
          await this.sleep(Math.max(pause, error.wait * 1000));
          pause = Math.min(pause * 2, LAST_PAUSE_MS);
        } else {
          this.queue.shift();
          this.session.done(message.client);
          this.told.failed(message, error);
        }
      }
    }
    this.isSending = false;
  }

  sleep(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.wake = () => (clearTimeout(timer), resolve());
    });
  }

  // The connection is back: nobody waits any longer.
  hurry() {
    this.pause = FIRST_PAUSE_MS;
    this.wake();
    if (this.events) this.listen();
  }

  listen() {
    clearTimeout(this.again);
    this.events?.close();
    this.told.state("connecting");
    const events = new EventSource(this.address("stream", { session_id: this.session.id, after: this.last }));
    this.events = events;
    events.addEventListener("ready", () => {
      this.pause = FIRST_PAUSE_MS;
      this.told.state("online");
      this.wake();
    });
    events.addEventListener("response", (event) => {
      const response = JSON.parse(event.data);
      this.last = Math.max(this.last, response.id);
      this.told.response(response);
    });
    events.addEventListener("typing", (event) => this.told.typing(JSON.parse(event.data)));
    events.addEventListener("state", (event) => this.told.ended(JSON.parse(event.data)));
    events.onerror = () => {
      this.told.state("offline");
      // The browser tries again by itself after a cut, not after a refusal; one way of trying is enough.
      events.close();
      this.again = setTimeout(() => this.listen(), this.pause);
      this.pause = Math.min(this.pause * 2, LAST_PAUSE_MS);
    };
  }
}
