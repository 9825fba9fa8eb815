// The chat: what was said, what became of it, and where it is shown.

class Chat {
  constructor(root, options) {
    this.session = new Session(options.base);
    this.view = new View(root, options, { say: (text) => this.say(text) });
    this.mine = new Map();
    this.open = new Set();
    this.responses = new Set();
    this.unread = 0;
    this.news = () => {};
    this.link = new Link(options.base, this.session, {
      state: (state) => this.view.stand(state),
      sent: (message, taken) => this.sent(message, taken),
      waits: (message, error) => this.waits(message, error),
      failed: (message, error) => this.mine.get(message.client)?.shown.note(error.message, "failed", () => this.say(message.text)),
      response: (response) => this.heard(response),
      ended: (ended) => this.ended(ended),
      typing: ({ for_ms: ms }) => this.typing(ms),
    });
  }

  // Once, however often the widget is opened.
  async start() {
    if (this.started) return;
    this.started = true;
    this.view.stand("connecting");
    this.view.log.setAttribute("aria-busy", "true");
    if (this.session.isKnown) await this.load();
    this.session.write();
    for (const message of this.session.outbox) if (!this.mine.has(message.client)) this.show(message);
    this.view.log.removeAttribute("aria-busy");
    this.isLoaded = true;
    this.link.listen();
    for (const message of this.session.outbox) this.link.send(message);
  }

  // What was said so far. Without a connection there is time for it later.
  async load() {
    for (let pause = FIRST_PAUSE_MS; ; pause = Math.min(pause * 2, LAST_PAUSE_MS)) {
      try {
        this.fill(await this.link.conversation());
        return;
      } catch (error) {
        if (!error.isForNow) return;
        this.view.stand("offline");
        await this.link.sleep(pause);
      }
    }
  }

  fill(conversation) {
    const entries = [
      ...conversation.messages.map((message) => ({ id: message.id, message })),
      ...conversation.responses.map((response) => ({ id: response.id, response })),
    ].sort((a, b) => a.id - b.id);
    for (const { message, response } of entries) {
      if (response) this.response(response);
      else this.remember(message);
    }
    this.view.toEnd();
  }

  remember(message) {
    const client = message.client_message_id ?? `id-${message.id}`;
    if (this.mine.has(client)) return;
    this.session.done(client);
    const shown = this.view.mine(message.message, message.timestamp);
    this.mine.set(client, { id: message.id, text: message.message, shown });
    this.open.add(message.id);
    if (message.state) this.ended({ message_id: message.id, state: message.state });
    this.view.wait(this.open.size > 0);
  }

  say(text) {
    const message = this.session.add(text);
    this.show(message);
    if (this.isLoaded) this.link.send(message);
  }

  show(message) {
    const shown = this.view.mine(message.text, message.at);
    shown.note("Sending…", "sending");
    this.mine.set(message.client, { text: message.text, shown });
  }

  sent(message, taken) {
    const entry = this.mine.get(message.client);
    entry.id = taken.message_id;
    // The answer may have been faster.
    const isAnswered = this.responses.has(taken.message_id);
    entry.shown.note(isAnswered ? "" : "Sent", isAnswered ? "answered" : "sent");
    if (!isAnswered) this.open.add(taken.message_id);
    this.view.wait(this.open.size > 0);
  }

  waits(message, error) {
    const words = error.status === 429 ? "Too many messages; this one is sent in a moment" : "Waiting for a connection…";
    this.mine.get(message.client)?.shown.note(words, "waiting");
  }

  // An answer to what was written in another tab comes after its message.
  async heard(response) {
    const isOurs = [...this.mine.values()].some((entry) => entry.id === response.message_id);
    if (!isOurs && response.message_id !== null && this.link.queue.length === 0) {
      await this.link.conversation().then((conversation) => this.fill(conversation), () => {});
    }
    this.response(response);
  }

  response(response) {
    const key = `r${response.id}`;
    if (this.responses.has(key)) return;
    this.responses.add(key).add(response.message_id);
    this.open.delete(response.message_id);
    for (const entry of this.mine.values()) if (entry.id === response.message_id) entry.shown.note("", "answered");
    this.link.last = Math.max(this.link.last, response.id);
    this.view.theirs(response.response, response.timestamp, response.kind ?? "answer");
    this.view.wait(this.open.size > 0);
    this.typing(0);
    if (this.isLoaded) this.news((this.unread += 1));
  }

  // The agent is at work; without another sign in that time it is not.
  typing(ms) {
    clearTimeout(this.still);
    this.view.typing(ms > 0);
    if (ms > 0) this.still = setTimeout(() => this.typing(0), ms);
  }

  ended({ message_id: id, state }) {
    this.open.delete(id);
    this.typing(0);
    for (const [client, entry] of this.mine) {
      if (entry.id !== id) continue;
      const again = state === "failed" ? () => (this.mine.delete(client), this.say(entry.text)) : null;
      entry.shown.note(ENDS[state] ?? "This came to an end without an answer.", state === "failed" ? "failed" : "ended", again);
    }
    this.view.wait(this.open.size > 0);
  }
}

function drawn(host, options) {
  const root = host.attachShadow({ mode: "open" });
  const style = new CSSStyleSheet();
  style.replaceSync(STYLE);
  root.adoptedStyleSheets = [style];
  host.dataset.mode = options.mode;
  if (["light", "dark"].includes(options.theme)) host.dataset.theme = options.theme;
  if (options.position === "left") host.dataset.position = "left";
  accent(host, options.accent);
  return root;
}

// A colour of the site's own; what is written on it is black or white, whichever can be read.
function accent(host, colour) {
  const parts = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(colour ?? "");
  if (!parts) return;
  const [red, green, blue] = parts.slice(1).map((part) => {
    const share = parseInt(part, 16) / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const light = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  host.style.setProperty("--accent", colour);
  host.style.setProperty("--on-accent", light > 0.179 ? "#000" : "#fff");
}

function page(host, options) {
  const chat = new Chat(drawn(host, options), options);
  document.body.append(host);
  chat.start();
  chat.view.box.focus();
}

function widget(host, options) {
  const root = drawn(host, options);
  const chat = new Chat(root, options);
  const panel = chat.view.panel;
  const badge = element("span", { class: "badge", hidden: true });
  const words = hidden("Open the chat");
  const launcher = element("button", { type: "button", class: "launcher", "aria-expanded": "false", "aria-controls": "broca-panel" }, icon("chat"), words, badge);
  const close = element("button", { type: "button", class: "close", "aria-label": "Close the chat", title: "Close" }, icon("close"));
  panel.id = "broca-panel";
  panel.setAttribute("role", "dialog");
  panel.hidden = true;
  chat.view.header.append(close);
  const show = (isOpen) => {
    panel.hidden = !isOpen;
    launcher.hidden = isOpen;
    launcher.setAttribute("aria-expanded", String(isOpen));
    if (isOpen) {
      chat.start();
      chat.unread = 0;
      badge.hidden = true;
      words.textContent = "Open the chat";
      chat.view.toEnd();
      chat.view.box.focus();
    } else launcher.focus();
  };
  chat.news = (count) => {
    if (!panel.hidden) return (chat.unread = 0);
    badge.textContent = count > 9 ? "9+" : String(count);
    badge.hidden = false;
    words.textContent = count === 1 ? "Open the chat, one new message" : `Open the chat, ${count} new messages`;
  };
  launcher.addEventListener("click", () => show(true));
  close.addEventListener("click", () => show(false));
  panel.addEventListener("keydown", (event) => event.key === "Escape" && (event.stopPropagation(), show(false)));
  root.append(launcher);
  document.body.append(host);
  // Somebody who was here before hears of answers without opening it.
  if (chat.session.isKnown) chat.start();
  if (options.open) show(true);
}

const own = document.currentScript;
const options = {
  base: new URL(own.dataset.server ?? ".", own.src).href,
  mode: own.dataset.mode === "page" ? "page" : "widget",
  title: own.dataset.title ?? "Chat",
  greeting: own.dataset.greeting ?? "Hello! Ask me anything.",
  theme: own.dataset.theme,
  position: own.dataset.position,
  accent: own.dataset.accent,
  open: own.dataset.open !== undefined,
};
const begin = () => (options.mode === "page" ? page : widget)(document.createElement("broca-chat"), options);
if (document.readyState === "loading") addEventListener("DOMContentLoaded", begin, { once: true });
else begin();
