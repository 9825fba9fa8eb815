import { login, Refused, session, who } from "./api.js";
import { h, show } from "./dom.js";
import { problem } from "./parts.js";

/** Asks for a token; `then` is called once somebody is in. */
export function loginPage(root, then, why) {
  document.title = "Log in · Broca";
  const trouble = h("div", { "aria-live": "assertive" });
  const token = h("input", { name: "token", type: "password", autocomplete: "current-password", required: true, spellcheck: "false", id: "token" });
  const enter = h("button", { cls: "button main-act" }, "Log in");
  const submit = async (event) => {
    event.preventDefault();
    enter.disabled = true;
    try {
      await login(token.value);
      await who();
      if (!session.who?.logged_in) throw new Refused(0, { message: "this browser kept no cookie", hint: "here the dashboard must be reached by TLS, through a proxy" });
      await then();
    } catch (error) {
      show(trouble, problem(error));
      token.select();
      token.focus();
    } finally {
      enter.disabled = false;
    }
  };
  show(root, h("main", { cls: "door", id: "main", tabindex: "-1" }, h("form", { cls: "card", onsubmit: submit },
    h("div", { cls: "brand" }, h("img", { src: "/assets/icon.svg", alt: "" }), h("h1", {}, "Broca")),
    why && h("div", { cls: "notice wait", role: "status" }, why),
    h("label", { cls: "field" }, h("span", {}, "Token"), token, h("small", {}, "It begins with broca_")),
    trouble, enter,
    h("p", { cls: "small soft" }, "Without one, make one where Broca runs: ", h("code", {}, "broca token add NAME --access operate --contents")))));
  token.focus();
}
