// Who this browser is, and what it still has to send. Kept in the browser, so that a reload loses nothing.

function random(length) {
  const letters = "abcdefghijklmnopqrstuvwxyz0123456789";
  // 252 is the largest multiple of 36 that a byte holds: every letter is as likely.
  const out = [];
  while (out.length < length) {
    const bytes = crypto.getRandomValues(new Uint8Array(length * 2));
    out.push(...Array.from(bytes).filter((byte) => byte < 252).map((byte) => letters[byte % 36]));
  }
  return out.slice(0, length).join("");
}

class Session {
  constructor(name) {
    this.key = `broca-chat:${name}`;
    const kept = this.read();
    this.isKnown = Boolean(kept.session);
    this.id = kept.session ?? `session_${Date.now().toString(36)}_${random(26)}`;
    this.visitor = kept.visitor ?? random(32);
    this.outbox = Array.isArray(kept.outbox) ? kept.outbox : [];
  }

  read() {
    try {
      return JSON.parse(localStorage.getItem(this.key)) ?? {};
    } catch {
      return {};
    }
  }

  // A browser that keeps nothing still chats, until its page is left.
  write() {
    try {
      const kept = { session: this.id, visitor: this.visitor, outbox: this.outbox };
      localStorage.setItem(this.key, JSON.stringify(kept));
    } catch {}
  }

  // Another tab of the same person has its own messages to send.
  refresh() {
    const kept = this.read().outbox;
    if (Array.isArray(kept)) this.outbox = kept;
  }

  add(text) {
    this.refresh();
    const message = { client: random(22), text, at: Date.now() };
    this.outbox.push(message);
    this.write();
    return message;
  }

  done(client) {
    this.refresh();
    this.outbox = this.outbox.filter((message) => message.client !== client);
    this.write();
  }
}
