import { h, region } from "./dom.js";
import { may } from "./api.js";
import { asked, carryOut } from "./dialogs.js";
import { button, card, empty, field, pill, table, time } from "./parts.js";
import { number, plural } from "./words.js";

const ACTS = [
  ["start", "Start", "Start it"], ["restart", "Restart", "Restart it"], ["stop", "Stop", "Stop it"], ["enable", "Enable", "Enable it"], ["disable", "Disable", "Disable it"],
];

/** What can be asked of an instance, as it stands. */
function fits(action, { supervised }) {
  const standing = supervised?.standing;
  const runs = ["running", "starting", "restarting", "crash_looping"].includes(standing);
  if (action === "enable") return standing === "disabled";
  if (!standing || standing === "disabled") return false;
  if (action === "start") return !runs;
  if (action === "restart" || action === "stop") return runs;
  return action === "disable";
}

function columns(lag, again) {
  const order = async (instance, [action, name, word]) => {
    const words = await asked(`${name} ${instance}`, "The supervisor (broca up) carries it out.", field("Why, for the record", h("input", { name: "reason", maxlength: 200 })), { word: name, danger: action !== "start" && action !== "enable" });
    if (words && (await carryOut(`plugin.${action}`, { instance, ...words }, { title: `${name} ${instance}`, word, then: `${instance}: ${name.toLowerCase()} was carried out` })) !== null) again();
  };
  return [
    ["Instance", ({ instance, enabled }) => [h("strong", {}, instance), !enabled && h("span", { cls: "sub" }, "not enabled in the settings")]],
    ["State", ({ supervised, problem }) => [supervised ? pill(supervised.standing) : pill("unsupervised", "no supervisor"), (problem ?? supervised?.detail) && h("span", { cls: "sub wrap" }, problem ?? supervised.detail)]],
    ["Process", ({ supervised }) => (supervised?.pid ? supervised.pid : "–"), "number"],
    ["Restarts", ({ supervised }) => (supervised ? number(supervised.restarts) : "–"), "number"],
    ["To deliver", ({ instance }) => number(lag.get(`out-${instance}`)?.pending), "number"],
    ["Accounts", ({ accounts }) => (accounts.length ? accounts.map((one) => h("span", { cls: "sub" }, h("span", { cls: "mono" }, `${one.platform}/${one.account}`), " ", time(one.lease_until, "in use"))) : "–")],
    may("admin") ? ["", (one) => h("div", { cls: "row" }, ACTS.filter(([action]) => fits(action, one)).map((what) => button(what[1], () => order(one.instance, what), { kind: "tiny", key: `${what[0]}-${one.instance}` }))), "full"] : undefined,
  ].filter(Boolean);
}

export const plugins = {
  title: "Plugins",
  lead: "Each plugin instance of the settings, as its supervisor sees it.",
  every: 3000,
  async load({ ask }) {
    const [status, queues] = await Promise.all([ask("plugin.status"), ask("queue.show").catch(() => ({ consumers: [] }))]);
    return { items: status.items, lag: queues.consumers };
  },
  show({ body, again }) {
    const place = region();
    body.append(place.place);
    return ({ items, lag }) => {
      const by = new Map(lag.map((consumer) => [consumer.consumer, consumer]));
      place.show([items, lag], () => card("Instances", items.length ? plural(items.length, "instance") : "",
        items.length ? table(columns(by, again), items, { label: "Instances", key: ({ instance }) => instance }) : empty("No plugin is configured", "Add a [plugins.NAME] to broca.toml.")));
    };
  },
};
