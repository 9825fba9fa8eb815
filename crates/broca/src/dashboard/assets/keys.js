// The keyboard: g and a letter go somewhere, / searches, ? tells all of it.

import { h } from "./dom.js";
import { open } from "./dialogs.js";
import { button } from "./parts.js";

export const PLACES = [
  ["o", "overview", "Overview", "Flow"],
  ["q", "queues", "Queues", "Flow"],
  ["w", "workers", "Workers", "Flow"],
  ["p", "plugins", "Plugins", "Flow"],
  ["m", "messages", "Messages", "Messages"],
  ["d", "letters", "Dead letters", "Messages"],
  ["h", "holds", "Holds", "Control"],
  ["a", "audit", "Audit log", "Control"],
];

export function help() {
  if (document.querySelector("dialog[open]")) return;
  const line = (keys, what) => [h("span", { cls: "row" }, keys.map((key) => h("kbd", {}, key))), h("span", {}, what)];
  open("Keyboard", "Works wherever no text is being typed.", ({ close, fill }) => {
    fill(h("div", { cls: "keys-list" },
      PLACES.map(([key, , name]) => line(["g", key], `Go to ${name.toLowerCase()}`)),
      line(["/"], "Search messages"), line(["t"], "Light or dark"), line(["Space"], "Pause what is live, and go on"), line(["Esc"], "Close a dialog"), line(["?"], "This list"),
    ), button("Close", close, { kind: "main-act" }));
  }, { small: true });
}

const types = (target) => target.matches?.("input:not([type=checkbox]), textarea, select, [contenteditable]");

export function listen({ theme, pause }) {
  let waits = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || types(event.target)) return;
    if (document.querySelector("dialog[open]") || !document.querySelector(".frame")) return;
    const goes = Date.now() - waits < 1500;
    waits = 0;
    const place = goes && PLACES.find(([key]) => key === event.key);
    if (place) location.hash = `#/${place[1]}`;
    else if (event.key === "g") waits = Date.now();
    else if (event.key === "?") help();
    else if (event.key === "t") theme();
    else if (event.key === " " && (event.target === document.body || event.target.id === "main")) pause();
    else if (event.key === "/") {
      const field = document.querySelector("[data-search]");
      if (field) field.focus();
      else location.hash = "#/messages";
    } else return;
    event.preventDefault();
  });
}
