// Dialogs: what is asked before something is done.

import { act, confirmed } from "./api.js";
import { h, show, toast } from "./dom.js";
import { button, problem } from "./parts.js";
import { brief, number, until } from "./words.js";

const FIELDS = ".body input, .body select, .body textarea";

/** Opens one; `build(place, close)` fills it. The focus goes back to where it was. */
export function open(title, lead, build, { small } = {}) {
  const before = document.activeElement;
  const id = `d${Math.random().toString(36).slice(2)}`;
  const place = h("div", { cls: "inside" });
  const dialog = h("dialog", { cls: small ? "small-one" : "", "aria-labelledby": id }, place);
  const close = () => dialog.close();
  dialog.addEventListener("close", () => {
    dialog.remove();
    if (before?.isConnected) before.focus();
  });
  document.body.append(dialog);
  build({
    close,
    dialog,
    fill(body, footer, heading = title, more = lead) {
      show(place, h("header", {}, h("h2", { id, tabindex: "-1" }, heading), more && h("p", {}, more)), h("div", { cls: "body" }, body), h("footer", {}, footer));
      // What had the focus is gone: whoever hears the page is told what it says now.
      if (dialog.open && !place.contains(document.activeElement)) (place.querySelector(FIELDS) ?? place.querySelector("h2")).focus();
    },
  });
  dialog.showModal();
  (place.querySelector(FIELDS) ?? place.querySelector("footer button") ?? dialog).focus();
  return dialog;
}

/** Asks for the words that go with an act, and gives them, or nothing. */
export function asked(title, lead, fields, { word = "Go on", danger } = {}) {
  return new Promise((done) => {
    let result = null;
    const dialog = open(title, lead, ({ close, fill }) => {
      const form = h("form", { method: "dialog", id: "asked", onsubmit: (event) => {
        event.preventDefault();
        result = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, String(value).trim()]).filter(([, value]) => value));
        close();
      } }, fields);
      fill(form, [button("Cancel", close), h("button", { cls: `button ${danger ? "danger" : "main-act"}`, form: "asked" }, word)]);
    }, { small: true });
    dialog.addEventListener("close", () => done(result));
  });
}

/**
 * Does an operation. What ends or sends something is proposed by the server first; the proposal is shown, and done when
 * somebody says so. Gives the answer, or nothing when they did not.
 */
export async function carryOut(name, request, { title, word = "Do it", then } = {}) {
  let first;
  try {
    first = await act(name, request);
  } catch (error) {
    await told(title, error);
    return null;
  }
  if (first.proposal) {
    const answer = await confirmProposal(name, request, first.proposal, { title, word });
    if (answer !== null) toast(then ?? "Done");
    return answer;
  }
  toast(then ?? "Done");
  return first.answer;
}

function told(title, error) {
  return new Promise((done) => {
    const dialog = open(title, "It was not done.", ({ close, fill }) => fill(problem(error), [button("Close", close, { kind: "main-act" })]), { small: true });
    dialog.addEventListener("close", () => done());
  });
}

function confirmProposal(name, request, proposal, { title, word }) {
  return new Promise((done) => {
    let result = null;
    const dialog = open(title, "Look at what it comes to before it is done.", ({ close, fill }) => {
      const body = (trouble) => [
        h("p", {}, "This would ", proposal.would, "."),
        h("div", { cls: "figures" }, h("div", {}, h("strong", {}, number(proposal.count)), h("span", {}, proposal.count === 1 ? "row" : "rows"))),
        proposal.examples.length > 1 && h("p", { cls: "small soft mono" }, proposal.examples.map(brief).join(", "), proposal.count > proposal.examples.length && ", …"),
        h("p", { cls: "small soft" }, `The confirmation is good once, and over ${until(proposal.expires_at)}.`),
        trouble && problem(trouble),
      ];
      const go = async (event) => {
        event.currentTarget.disabled = true;
        try {
          result = await confirmed(name, request, proposal);
          close();
        } catch (error) {
          fill(body(error), [button("Close", close)]);
        }
      };
      fill(body(), [button("Cancel", close), button(word, go, { kind: "danger", key: "confirm" })]);
    }, { small: true });
    dialog.addEventListener("close", () => done(result));
  });
}
