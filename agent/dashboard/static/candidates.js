// The candidates: a table of configurations, reward against window, and the Pareto front.

import { colour } from "./paint.js";
import { el, num, plural } from "./format.js";
import { chart } from "./plotted.js";
import { state } from "./store.js";

const SYMBOLS = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "x", "pentagon", "triangle-left", "hexagon"];
const MAX_KINDS = 12;

export async function drawCandidates(box) {
  const d = state.decision;
  if (!d?.board.length) return box.replaceChildren(el("p", { class: "dim" }, "Candidates appear here once a decision is made."));
  const reward = el("div", { class: "chart" }), front = el("div", { class: "chart" });
  box.replaceChildren(el("div", { class: "two" }, el("div", { class: "scroll" }, board(d)), el("div", {}, el("h3", {}, "Reward against window"), reward, d.front ? el("h3", {}, "Trade-offs (Pareto front)") : "", d.front ? front : "")));
  await drawReward(reward, d);
  if (d.front) await drawFront(front, d);
}

function board(d) {
  const rows = d.board.slice(0, 200).map((c) => el(
    "tr", { class: c.chosen ? "chosen" : c.left_out ? "out" : "" },
    el("td", {}, c.label), el("td", { class: "num" }, String(c.window_px)), el("td", { class: "num" }, c.mean === null ? "–" : `${num(c.mean)}${c.std === null ? "" : ` ± ${num(c.std, 2)}`}`),
    el("td", { class: "num" }, String(c.seeds)), el("td", { class: "num" }, c.types ? String(c.types) : "–"), el("td", { class: "num" }, c.sigmas_below_best === null ? "–" : c.sigmas_below_best.toFixed(1)),
    el("td", {}, c.chosen ? el("span", { class: "tag won" }, "chosen") : c.in_tie_set ? el("span", { class: "tag tie" }, "ties") : "", " ", c.left_out ? el("span", { class: "dim" }, c.left_out) : ""),
  ));
  const head = ["model", "window (px)", `reward (${d.reward})`, "seeds", "types (median)", "σ below best", ""].map((t, i) => el("th", { class: i > 0 && i < 6 ? "num" : "" }, t));
  const out = d.board.filter((c) => c.left_out).length;
  return el("div", {}, el("p", { class: "dim" }, `${plural(d.board.length, "configuration")}; ${out ? `${out} with rejected candidates, see the reasons` : "none rejected"}. Those that tie lie within the noise of the best.`), el("table", {}, el("tr", {}, ...head), ...rows));
}

async function drawReward(box, d) {
  const traces = [], windows = [...new Set(d.seeds.map((s) => s.window_px))].sort((a, b) => a - b);
  const room = windows.length > 1 ? 0.2 * Math.min(...windows.slice(1).map((w, i) => w - windows[i])) : 0.2;
  d.kinds.slice(0, MAX_KINDS).forEach((name, k) => {
    const shift = d.kinds.length > 1 ? room * (k / (d.kinds.length - 1) - 0.5) : 0;
    const mine = d.board.filter((c) => c.kind === k && c.mean !== null).sort((a, b) => a.window_px - b.window_px);
    const seeds = d.seeds.filter((s) => s.kind === k && s.value !== null);
    const look = { color: colour(k), symbol: SYMBOLS[k % SYMBOLS.length] };
    traces.push({ x: seeds.map((s) => s.window_px + shift), y: seeds.map((s) => s.value), mode: "markers", marker: { ...look, symbol: "circle", size: 4 }, opacity: 0.5, showlegend: false, hoverinfo: "skip" });
    traces.push({ x: mine.map((c) => c.window_px + shift), y: mine.map((c) => c.mean), error_y: { type: "data", array: mine.map((c) => c.std ?? 0), color: colour(k), thickness: 1.2, width: 3 }, mode: "lines+markers", marker: { ...look, size: 7 }, line: { color: colour(k), width: 1.4 }, name, hovertemplate: `${name}, %{x:.0f} px: %{y:.3f}<extra></extra>` });
    const ties = mine.filter((c) => c.in_tie_set);
    if (ties.length) traces.push({ x: ties.map((c) => c.window_px + shift), y: ties.map((c) => c.mean), mode: "markers", marker: { symbol: "circle-open", size: 15, color: colour(7) }, showlegend: false, hoverinfo: "skip" });
    for (const c of mine.filter((one) => one.chosen)) traces.push({ x: [c.window_px + shift], y: [c.mean], mode: "markers", marker: { symbol: "star", size: 16, color: colour(k), line: { color: colour(7), width: 1 } }, name: "chosen", hoverinfo: "skip" });
  });
  await chart(box, traces, "window side (px); ringed: ties with the best", `reward (${d.reward})`, { xaxis: { tickvals: windows } });
}

async function drawFront(box, d) {
  const f = d.front, traces = d.kinds.map((name, k) => {
    const mine = f.names.map((_, i) => i).filter((i) => f.kinds[i] === k);
    return { x: mine.map((i) => f.x[i]), y: mine.map((i) => f.y[i]), text: mine.map((i) => f.names[i]), mode: "markers", name, marker: { color: colour(k), symbol: SYMBOLS[k % SYMBOLS.length], size: 9 }, hovertemplate: "%{text}<extra></extra>" };
  });
  traces.unshift({ x: f.front.map((i) => f.x[i]), y: f.front.map((i) => f.y[i]), mode: "lines", line: { dash: "dash", width: 1.2, color: colour(7) }, name: "Pareto front", hoverinfo: "skip" });
  const chosen = d.board.find((c) => c.chosen), at = f.names.indexOf(chosen?.name);
  if (at >= 0) traces.push({ x: [f.x[at]], y: [f.y[at]], mode: "markers", marker: { symbol: "star", size: 17, color: colour(f.kinds[at]), line: { color: colour(7), width: 1 } }, name: "chosen", hoverinfo: "skip" });
  await chart(box, traces, f.x_label, f.y_label, { xaxis: { autorange: f.x_up ? true : "reversed" }, yaxis: { autorange: f.y_up ? true : "reversed" } });
}
