// The frame: who is there, where one is, and how often what is shown is asked for again.

import { ask, logout, session, who, whenLoggedOut } from "./api.js";
import { h, say, show } from "./dom.js";
import { help, listen, PLACES } from "./keys.js";
import { loginPage } from "./login.js";
import { button, loading, problem } from "./parts.js";
import { ago } from "./words.js";
import { audit } from "./audit.js";
import { conversation } from "./conversation.js";
import { holds } from "./holds.js";
import { letters } from "./letters.js";
import { message } from "./message.js";
import { messages } from "./messages.js";
import { overview } from "./overview.js";
import { plugins } from "./plugins.js";
import { queues } from "./queues.js";
import { workers } from "./workers.js";

const VIEWS = { overview, queues, workers, plugins, messages, message, conversation, letters, holds, audit };
/** The dead letters' number beside their name is asked for this often. */
const COUNT_EVERY = 10_000;
const root = document.getElementById("app");
let stop = () => {};
let paused = false;

/** `auto`, `light` or `dark`; kept in this browser. */
function theme(next) {
  const kept = next ?? localStorage.getItem("broca-theme") ?? "auto";
  if (kept === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = kept;
  localStorage.setItem("broca-theme", kept);
  return kept;
}

function turnTheme() {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  theme(dark ? "light" : "dark");
  say(dark ? "Light" : "Dark");
}

function frame() {
  const groups = [...new Set(PLACES.map(([, , , group]) => group))];
  const link = ([key, path, name]) => h("li", {}, h("a", { href: `#/${path}`, "data-place": path, title: `g ${key}` }, name, path === "letters" && h("span", { cls: "count bad", "data-count": "letters" })));
  const { who: person, version } = session;
  const rights = [person.access, person.contents ? "reads texts" : "texts hidden"].join(", ");
  const leave = async () => { await logout().catch(() => {}); location.reload(); };
  return h("div", { cls: "frame" },
    h("div", { cls: "side" },
      h("a", { cls: "brand", href: "#/overview" }, h("img", { src: "/assets/icon.svg", alt: "" }), "Broca"),
      h("nav", { cls: "nav", "aria-label": "Pages" }, groups.map((group) => h("div", {}, h("h2", {}, group), h("ul", {}, PLACES.filter(([, , , of]) => of === group).map(link))))),
      h("div", { cls: "foot" },
        h("div", { cls: "who" }, h("strong", {}, person.logged_in ? person.name : "Not logged in"), h("span", { cls: "soft" }, rights)),
        h("div", { cls: "row" },
          button("Theme", turnTheme, { kind: "tiny", title: "Light or dark (t)" }),
          person.logged_in ? button("Log out", leave, { kind: "tiny" }) : button("Log in", () => loginPage(root, start), { kind: "tiny" })),
        h("div", { cls: "row between soft keys" }, button("Keyboard ?", help, { kind: "quiet tiny" }), h("span", { cls: "version" }, version)))),
    h("main", { cls: "main", id: "main", tabindex: "-1" }, h("div", { cls: "inner" })));
}

/** `#/name/id?filter=value` */
function address() {
  const [path, query = ""] = location.hash.replace(/^#\//, "").split("?");
  const [name, id] = path.split("/");
  return { name: VIEWS[name] ? name : "overview", id: id && decodeURIComponent(id), query: Object.fromEntries(new URLSearchParams(query)) };
}

function go() {
  stop();
  const { name, id, query } = address();
  const view = VIEWS[name];
  const place = document.querySelector(".inner");
  if (!place) return;
  for (const link of document.querySelectorAll("[data-place]")) {
    const here = link.dataset.place === (view.under ?? name);
    if (here) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest", inline: "nearest" });
    } else link.removeAttribute("aria-current");
  }
  document.title = `${view.title} · Broca`;
  const live = h("span", { cls: "live", "data-state": "live" });
  const trouble = h("div");
  const body = h("div", { cls: "stack" }, loading());
  const acts = h("div", { cls: "row" });
  const head = h("div", { cls: "titles" }, h("h1", {}, view.title), view.lead && h("p", {}, view.lead));
  show(place, h("div", { cls: "head" }, head, h("div", { cls: "row" }, acts, view.every && live)), trouble, body);
  stop = run(view, { id, query, body, acts, head, live, trouble });
  if (location.hash) document.getElementById("main").focus({ preventScroll: true });
  scrollTo(0, 0);
}

/** Asks for what a view shows, again and again where it is live, and stops when somebody goes elsewhere. */
function run(view, page) {
  const gone = new AbortController();
  let [timer, last, shown] = [undefined, 0, null];
  const tell = () => {
    if (!view.every) return;
    const late = last && Date.now() - last > view.every * 5 + 5000;
    page.live.dataset.state = paused ? "paused" : late ? "late" : "live";
    show(page.live, h("span", { cls: "dot" }), paused ? "paused" : late ? `last seen ${ago(last * 1000)}` : "live");
  };
  const again = async () => {
    clearTimeout(timer);
    try {
      if (!paused || !last) {
        const data = await view.load({ ...page, ask: (name, request) => ask(name, request, gone.signal) });
        if (gone.signal.aborted) return;
        if (!shown) { show(page.body); shown = view.show({ ...page, again, ask: (name, request) => ask(name, request, gone.signal) }); }
        shown(data);
        last = Date.now();
        show(page.trouble);
      }
    } catch (error) {
      if (gone.signal.aborted || error.status === 401) return;
      if (!error.status && error.name !== "Error" && !("code" in error)) console.error(error);
      show(page.trouble, problem(error, again));
      // Asking again for what is not there shows nothing new.
      if (error.status === 404 || error.status === 403) { show(page.live); show(page.body); return; }
      if (!shown) show(page.body);
    }
    tell();
    if (view.every && !gone.signal.aborted) timer = setTimeout(again, document.hidden ? view.every * 5 : view.every);
  };
  again();
  return () => { gone.abort(); clearTimeout(timer); };
}

function pause() {
  paused = !paused;
  say(paused ? "Paused" : "Live");
  for (const live of document.querySelectorAll(".live")) {
    live.dataset.state = paused ? "paused" : "live";
    show(live, h("span", { cls: "dot" }), paused ? "paused" : "live");
  }
}

let counting;
async function count() {
  clearTimeout(counting);
  const place = document.querySelector("[data-count=letters]");
  if (place && !document.hidden) {
    const numbers = await ask("metrics.show").catch(() => null);
    if (numbers) {
      const open = numbers.dead_letters_turn + numbers.dead_letters_delivery;
      const before = Number(place.dataset.open ?? open);
      place.dataset.open = open;
      place.textContent = open > 999 ? "999+" : open || "";
      place.setAttribute("aria-label", open ? `${open} open` : "");
      if (open > before) say(`${open - before} more dead letters`);
    }
  }
  if (session.who) counting = setTimeout(count, COUNT_EVERY);
}

async function start() {
  stop();
  try {
    await who();
  } catch (error) {
    show(root, h("div", { cls: "door" }, h("div", { cls: "card" }, problem(error, start))));
    return;
  }
  if (!session.who) return loginPage(root, start);
  show(root, frame());
  go();
  count();
}

// The address is where one is: the link past the navigation leaves it alone.
document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); document.getElementById("main")?.focus(); });
theme();
whenLoggedOut(() => { stop(); who().catch(() => {}).finally(() => loginPage(root, start, "The session is over. Log in again to go on.")); });
addEventListener("hashchange", go);
listen({ theme: turnTheme, pause });
await start();
