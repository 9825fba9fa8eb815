import { h, region } from "./dom.js";
import { flowChart, spark } from "./charts.js";
import { card, empty, pill, table, tile } from "./parts.js";
import { long, number, plural, serverIs } from "./words.js";

const WINDOWS = [["10m", "10 minutes"], ["1h", "1 hour"], ["6h", "6 hours"], ["1d", "1 day"]];
/** What else waits is asked for less often: it counts all that is open. */
const NUMBERS_EVERY = 8_000;

let chosen = "10m";
let numbers = null;
let asked = 0;

/** All whiles of the window, those of nothing too; the last one is not over, and left out. */
function whiles(flow) {
  const [step, times] = [flow.bucket_s * 1e6, []];
  for (let at = flow.since; at + step <= flow.now; at += step) times.push(at);
  return times;
}

function series(flow, times, wanted = () => true) {
  const place = new Map(times.map((at, n) => [at, n]));
  const sums = { in: times.map(() => 0), out: times.map(() => 0), failed: times.map(() => 0) };
  for (const point of flow.points) {
    const n = place.get(point.at);
    if (n === undefined || !wanted(point)) continue;
    sums.in[n] += point.came_in;
    sums.out[n] += point.went_out;
    sums.failed[n] += point.failed;
  }
  return sums;
}

const sum = (values) => values.reduce((a, b) => a + b, 0);

/** Those who had anything to do, the busiest first. */
function parties(flow, times, of) {
  const names = new Set([...flow.points.map((point) => point[of]), ...flow.in_turn.map((turn) => turn[of])]);
  return [...names].filter(Boolean).map((name) => ({
    name,
    flow: series(flow, times, (point) => point[of] === name),
    turns: sum(flow.in_turn.filter((turn) => turn[of] === name).map((turn) => turn.turns)),
    total: flow.points.filter((point) => point[of] === name).reduce((all, point) => ({ in: all.in + point.came_in, out: all.out + point.went_out, failed: all.failed + point.failed }), { in: 0, out: 0, failed: 0 }),
  })).sort((a, b) => b.total.in - a.total.in || a.name.localeCompare(b.name));
}

function partyTable(title, name, rows, query) {
  const columns = [
    [name, (row) => h("a", { href: `#/messages?${query}=${encodeURIComponent(row.name)}`, "data-key": `${name}-${row.name}` }, h("strong", {}, row.name))],
    ["In, over time", (row) => spark(row.flow.in, "in", `${row.total.in} in`), "full"],
    ["In", (row) => number(row.total.in), "number"],
    ["In turn", (row) => number(row.turns), "number"],
    ["Out", (row) => number(row.total.out), "number"],
    ["Failed", (row) => (row.total.failed ? pill("failed", number(row.total.failed)) : "0"), "number"],
  ];
  return card(title, undefined, rows.length ? table(columns, rows, { label: title, key: (row) => row.name }) : empty("Nothing in this time"));
}

function tiles(flow, times) {
  const all = series(flow, times);
  const turns = sum(flow.in_turn.map((turn) => turn.turns));
  const minutes = Math.max(1 / 60, (times.length * flow.bucket_s) / 60);
  const rate = (values) => `${(sum(values) / minutes).toFixed(sum(values) / minutes < 10 ? 1 : 0)} a minute`;
  const total = (key) => sum(flow.points.map((point) => point[key]));
  const letters = numbers ? numbers.dead_letters_turn + numbers.dead_letters_delivery : null;
  const waiting = numbers ? numbers.conversations_waiting + numbers.conversations_parked : null;
  return h("div", { cls: "tiles" },
    tile("In", number(total("came_in")), "", rate(all.in), { tone: "in", chart: spark(all.in, "in", "In, over time") }),
    tile("In turn", number(turns), "now", numbers ? `${number(numbers.conversations_in_hand)} in hand` : "", { tone: "turn", href: "#/workers", chart: shares(flow.in_turn, turns) }),
    tile("Out", number(total("went_out")), "", rate(all.out), { tone: "out", chart: spark(all.out, "out", "Out, over time") }),
    tile("Failed", number(total("failed")), "", letters === null ? "" : `${plural(letters, "dead letter")} open`, { tone: "failed", chart: spark(all.failed, "failed", "Failed, over time"), href: "#/letters", alarm: total("failed") > 0 }),
    tile("Time to answer", flow.answered_in_ms_p50 === null ? "–" : long(flow.answered_in_ms_p50 / 1000), "median", flow.answered_in_ms_p95 === null ? "nothing was answered" : `95 of 100 within ${long(flow.answered_in_ms_p95 / 1000)}`),
    tile("Waiting", number(waiting), waiting === 1 ? "conversation" : "conversations", numbers?.oldest_message_s ? `the oldest message for ${long(numbers.oldest_message_s)}` : "nobody waits", { tone: "wait", href: "#/queues" }));
}

/** Which agents have the turns. */
function shares(inTurn, all) {
  const by = new Map();
  for (const { agent, turns } of inTurn) by.set(agent, (by.get(agent) ?? 0) + turns);
  const most = [...by].sort((a, b) => b[1] - a[1]).slice(0, 2);
  return all > 0 && h("span", { cls: "shares" }, most.map(([agent, turns]) => h("span", {}, h("span", {}, agent), number(turns))));
}

export const overview = {
  title: "Overview",
  lead: "What comes in, is with an agent, goes out and fails.",
  every: 2000,
  async load({ ask }) {
    if (!numbers || Date.now() - asked > NUMBERS_EVERY) {
      asked = Date.now();
      ask("metrics.show").then((answer) => { numbers = answer; }, () => {});
    }
    const flow = await ask("flow.show", { window: chosen });
    serverIs(flow.now);
    return flow;
  },
  show({ body, acts, again }) {
    const select = h("select", { "aria-label": "How far back", onchange: (event) => { chosen = event.target.value; again(); } }, WINDOWS.map(([value, name]) => h("option", { value, selected: value === chosen }, `Last ${name}`)));
    acts.replaceChildren(select);
    const places = [region(), region(), region(), region({ cls: "pair" })];
    body.append(...places.map(({ place }) => place));
    return (flow) => {
      const times = whiles(flow);
      const all = series(flow, times);
      places[0].show([flow, numbers], () => tiles(flow, times));
      const cut = flow.whole_since > flow.since;
      places[1].place.hidden = !cut;
      places[1].show([cut, flow.whole_since], () => h("div", { cls: "notice wait" }, `There is more than one look counts: what is shown is whole for the last ${long((flow.now - flow.whole_since) / 1e6)}.`));
      places[2].show([times, all], () => card("Flow", undefined, h("div", { cls: "body" }, flowChart(times, all, flow.bucket_s))));
      places[3].show([flow.points, flow.in_turn, times], () => [
        partyTable("By plugin", "Plugin", parties(flow, times, "instance"), "instance"),
        partyTable("By agent", "Agent", parties(flow, times, "agent"), "agent"),
      ]);
    };
  },
};
