// Measured loops by cluster, and mean and standard deviation of their parameters.

import { colour, mark } from "./paint.js";
import { el, num, parameter } from "./format.js";
import { chart } from "./plotted.js";
import { shows, state } from "./store.js";

const MOST_COLUMNS = 3;

export async function drawLoops(box) {
  const loops = state.loops?.decision_id === state.decision?.decision_id ? state.loops?.loops ?? [] : [];
  if (!loops.length) {
    return box.replaceChildren(el("p", { class: "dim" }, "Loops appear here as the points of this scan are measured."));
  }
  let chartBox = box.querySelector(".chart");
  if (!chartBox) {
    box.replaceChildren(el("div", { class: "two" }, el("div", { class: "chart" }), el("div", { class: "scroll numbers" })));
    chartBox = box.querySelector(".chart");
  }
  box.querySelector(".numbers").replaceChildren(parameterTable());
  const traces = [];
  const clusters = [...new Set(loops.map((l) => l.cluster))].sort((a, b) => a - b);
  for (const cluster of clusters.filter(shows)) {
    const mine = loops.filter((l) => l.cluster === cluster);
    for (const l of mine) traces.push(trace(l.bias_V, l.response, cluster, { width: 1 }, 0.33, `point ${l.number}, cluster ${cluster}`));
    const same = mine.every((l) => l.bias_V.length === mine[0].bias_V.length);
    const mean = same ? mine[0].response.map((_, i) => mine.reduce((sum, l) => sum + l.response[i], 0) / mine.length) : mine[0].response;
    traces.push({ ...trace(mine[0].bias_V, mean, cluster, { width: 2.6 }, 1, `cluster ${cluster}, mean of ${mine.length}`), showlegend: true, name: `cluster ${cluster} (${mine.length})` });
  }
  await chart(chartBox, traces, "tip bias (V)", state.loops.response_label);
}

function trace(bias, response, cluster, line, opacity, text) {
  // Close the loop: repeat its first point at the end.
  return {
    type: "scatter", mode: "lines", x: [...bias, bias[0]], y: [...response, response[0]], opacity, line: { color: colour(cluster), ...line },
    legendgroup: `c${cluster}`, showlegend: false, hoverinfo: "text", text,
  };
}

function parameterTable() {
  const places = state.places?.places ?? [];
  const names = [...new Set(places.flatMap((p) => Object.keys(p.parameters)))]
    .sort((a, b) => Number(!a.endsWith("_V")) - Number(!b.endsWith("_V")) || a.localeCompare(b)).slice(0, MOST_COLUMNS);
  const clusters = [...new Set(places.map((p) => p.cluster))].sort((a, b) => a - b);
  const rows = clusters.filter(shows).map((cluster) => {
    const mine = places.filter((p) => p.cluster === cluster), good = mine.filter((p) => p.state === "ok");
    return el(
      "tr", {}, el("td", {}, mark(cluster)), el("td", {}, String(cluster)), el("td", { class: "num" }, `${good.length} of ${mine.length}`),
      ...names.map((n) => el("td", { class: "num" }, spread(good.map((p) => p.parameters[n]).filter((v) => v !== undefined)))),
    );
  });
  const head = ["", "cluster", "measured", ...names.map(parameter)].map((t, i) => el("th", { class: i > 1 ? "num" : "" }, t));
  return el("table", {}, el("tr", {}, ...head), ...rows);
}

function spread(values) {
  if (!values.length) return "–";
  const mean = values.reduce((a, b) => a + b, 0) / values.length;
  if (values.length === 1) return num(mean);
  const sd = Math.sqrt(values.reduce((a, v) => a + (v - mean) ** 2, 0) / (values.length - 1));
  return `${num(mean)} ± ${num(sd, 2)}`;
}
