// Small charts, drawn from the points of flow.show.

import { h, svg } from "./dom.js";
import { at, number, plural } from "./words.js";

const WIDTH = 600;

function path(values, most, height, width = WIDTH) {
  const step = width / Math.max(1, values.length - 1);
  return values.map((value, n) => `${n ? "L" : "M"}${(n * step).toFixed(1)} ${(height - (value / most) * height).toFixed(1)}`).join("");
}

/** A line that says how something went, with the figures for those who do not see it. */
export function spark(values, tone, label) {
  const [height, most] = [34, Math.max(1, ...values)];
  const line = path(values, most, height - 2);
  return svg("svg", { class: "spark", viewBox: `0 -1 ${WIDTH} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    svg("path", { class: `area ${tone}`, d: `${line}L${WIDTH} ${height}L0 ${height}Z` }),
    svg("path", { class: `line ${tone}`, d: line }));
}

/** A round number that is not below. */
function round(value) {
  const magnitude = 10 ** Math.floor(Math.log10(Math.max(1, value)));
  return [1, 2, 3, 4, 5, 6, 8, 10].map((n) => n * magnitude).find((n) => n >= value);
}

/** What came in and went out as lines, what failed as bars. */
export function flowChart(times, series, bucketSeconds) {
  const height = 220;
  const most = round(Math.max(4, ...series.in, ...series.out, ...series.failed));
  const step = WIDTH / Math.max(1, times.length - 1);
  const levels = [0, 0.5, 1].map((share) => svg("line", { class: "grid", x1: 0, x2: WIDTH, y1: height - share * height, y2: height - share * height }));
  const bars = series.failed.map((value, n) => value > 0 && svg("rect", {
    class: "bar-failed", x: Math.max(0, n * step - step * 0.3), width: step * 0.6, y: height - Math.max(3, (value / most) * height), height: Math.max(3, (value / most) * height), rx: 1,
  }));
  const line = (values, tone) => svg("path", { class: `line ${tone}`, d: path(values, most, height) });
  const area = svg("path", { class: "area in", d: `${path(series.in, most, height)}L${WIDTH} ${height}L0 ${height}Z` });
  const sum = (values) => values.reduce((a, b) => a + b, 0);
  const label = `In ${number(sum(series.in))}, out ${number(sum(series.out))}, failed ${number(sum(series.failed))}, since ${at(times[0])}`;
  const figure = svg("svg", { viewBox: `0 -4 ${WIDTH} ${height + 8}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    levels, area, line(series.in, "in"), line(series.out, "out"), bars);
  const per = bucketSeconds === 1 ? "second" : plural(bucketSeconds, "second");
  const key = (tone, text) => h("span", { "data-tone": tone }, h("i"), text);
  return h("figure", { cls: "chart" },
    h("div", { cls: "row between" },
      h("div", { cls: "legend" }, key("in", "In"), key("out", "Out"), key("failed", "Failed")),
      h("span", { cls: "small soft" }, `each ${per}`)),
    h("div", { cls: "plot" }, figure, h("span", { cls: "level most", "aria-hidden": "true" }, number(most)), h("span", { cls: "level half", "aria-hidden": "true" }, number(most / 2))),
    h("div", { cls: "axis" }, h("span", {}, at(times[0])), h("span", {}, at(times[Math.floor(times.length / 2)])), h("span", {}, "now")));
}
