// What is seen and heard: the conversation, the line to write in, and how things stand.

const ICONS = {
  send: "M3.4 20.4 21 12 3.4 3.6 3.4 10.1 15 12 3.4 13.9z",
  chat: "M5 3.5h14A2.5 2.5 0 0 1 21.5 6v9a2.5 2.5 0 0 1-2.5 2.5h-7.6L6 22v-4.5H5A2.5 2.5 0 0 1 2.5 15V6A2.5 2.5 0 0 1 5 3.5z",
  close: "M6.4 5 5 6.4l5.6 5.6L5 17.6 6.4 19l5.6-5.6 5.6 5.6 1.4-1.4-5.6-5.6L19 6.4 17.6 5 12 10.6z",
  down: "M12 15.6 5.7 9.3l1.4-1.4 4.9 4.9 4.9-4.9 1.4 1.4z",
};

const TYPING = "Writing an answer…";
const STATES = { online: "Online", connecting: "Connecting…", offline: "No connection. Trying again…" };

const ENDS = {
  failed: "This could not be answered.",
  suppressed: "This was not passed on.",
  cancelled: "This was cancelled.",
  stored: "Received.",
  completed: "Received.",
};

function icon(name) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", ICONS[name]);
  for (const [key, value] of [["viewBox", "0 0 24 24"], ["aria-hidden", "true"], ["focusable", "false"]]) svg.setAttribute(key, value);
  svg.append(path);
  return svg;
}

function hidden(text) {
  return element("span", { class: "hidden" }, text);
}

class View {
  constructor(root, options, acts) {
    this.acts = acts;
    this.follows = true;
    this.options = options;
    this.log = element("ol", { class: "log", role: "log", "aria-live": "polite", "aria-relevant": "additions", "aria-label": "Conversation", tabindex: "0" });
    this.state = element("p", { class: "state", role: "status" });
    this.box = element("textarea", { id: "broca-box", rows: "1", maxlength: "10000", placeholder: "Write a message", enterkeyhint: "send", autocomplete: "off" });
    this.button = element("button", { type: "submit", class: "send", "aria-label": "Send", title: "Send", disabled: true }, icon("send"));
    this.form = element("form", { class: "composer" },
      element("label", { for: "broca-box", class: "hidden" }, "Message"), this.box, this.button);
    this.latest = element("button", { type: "button", class: "latest", "aria-label": "To the latest message", hidden: true }, icon("down"));
    this.answering = element("li", { class: "theirs answering", hidden: true },
      element("div", { class: "bubble" }, hidden("An answer is on its way"), element("i"), element("i"), element("i")));
    const title = element("h1", { id: "broca-title" }, options.title);
    this.header = element("header", {}, element("div", { class: "who" }, title, this.state));
    const hint = element("p", { class: "hint" }, "Enter sends, Shift + Enter begins a new line");
    this.panel = element("section", { class: "panel", "aria-labelledby": "broca-title" },
      this.header, element("div", { class: "middle" }, this.log, this.latest), element("footer", {}, this.form, hint));
    this.greeting = element("li", { class: "greeting" }, icon("chat"), element("p", {}, options.greeting));
    this.log.append(this.greeting, this.answering);
    root.append(this.panel);
    this.listen();
  }

  listen() {
    this.form.addEventListener("submit", (event) => (event.preventDefault(), this.submit()));
    this.box.addEventListener("input", () => this.fit());
    this.box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) (event.preventDefault(), this.submit());
    });
    this.log.addEventListener("scroll", () => {
      this.follows = this.isAtEnd();
      this.latest.hidden = this.follows;
    }, { passive: true });
    // A phone's keyboard comes and goes; whoever reads the end goes on reading it.
    new ResizeObserver(() => this.follows && this.toEnd()).observe(this.log);
    this.latest.addEventListener("click", () => (this.toEnd(), this.box.focus()));
  }

  submit() {
    const text = this.box.value.trim();
    if (text === "") return;
    this.box.value = "";
    this.fit();
    this.acts.say(text);
    this.box.focus();
  }

  fit() {
    this.button.disabled = this.box.value.trim() === "";
    this.box.style.height = "auto";
    this.box.style.height = `${Math.min(this.box.scrollHeight, 160)}px`;
  }

  isAtEnd() {
    return this.log.scrollHeight - this.log.scrollTop - this.log.clientHeight < 60;
  }

  toEnd() {
    this.follows = true;
    this.log.scrollTop = this.log.scrollHeight;
  }

  // Puts an entry at the end; whoever reads further up is left there.
  put(entry, always) {
    const follow = always || this.isAtEnd();
    this.greeting.hidden = true;
    this.log.insertBefore(entry, this.answering);
    if (follow) this.toEnd();
    else this.latest.hidden = false;
  }

  time(at) {
    const date = new Date(at);
    const today = date.toDateString() === new Date().toDateString();
    const text = date.toLocaleString([], today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
    return element("time", { datetime: date.toISOString() }, text);
  }

  mine(text, at) {
    const note = element("span", { class: "note" });
    const bubble = element("div", { class: "bubble", dir: "auto" }, hidden("You: "), element("p", { class: "plain" }, text));
    const entry = element("li", { class: "mine" }, bubble, element("div", { class: "under" }, note, this.time(at)));
    this.put(entry, true);
    return {
      note: (words, kind, again) => {
        entry.dataset.kind = kind;
        note.replaceChildren(words);
        if (again) {
          const button = element("button", { type: "button", class: "again" }, "Try again");
          button.addEventListener("click", () => (entry.remove(), this.box.focus(), again()));
          note.append(" ", button);
        }
      },
    };
  }

  // What no agent said looks and sounds otherwise.
  theirs(text, at, kind) {
    const who = kind === "answer" ? this.options.title : "Notice";
    const bubble = element("div", { class: "bubble", dir: "auto" }, hidden(`${who}: `), markdown(text));
    this.put(element("li", { class: kind === "answer" ? "theirs" : "theirs notice", "data-kind": kind }, bubble, element("div", { class: "under" }, this.time(at))), false);
  }

  wait(isWaiting) {
    if (this.answering.hidden === !isWaiting) return;
    const follow = this.isAtEnd();
    this.answering.hidden = !isWaiting;
    if (follow) this.toEnd();
  }

  stand(state) {
    if (this.panel.dataset.state === state) return;
    this.panel.dataset.state = state;
    this.tell();
  }

  typing(isTyping) {
    if (this.panel.hasAttribute("data-typing") === isTyping) return;
    this.panel.toggleAttribute("data-typing", isTyping);
    this.tell();
  }

  // How things stand, for eyes and for screen readers.
  tell() {
    const state = this.panel.dataset.state;
    const isTyping = state === "online" && this.panel.hasAttribute("data-typing");
    this.state.textContent = isTyping ? TYPING : STATES[state];
  }
}
