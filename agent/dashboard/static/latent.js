// The latent space: key points, core points, 2-sigma ellipse of each cluster, and the recommended points.

import { Nearest } from "./nearest.js";
import { colour, css, fit, isDark, marker } from "./paint.js";
import { $ } from "./format.js";
import { on, set, shows, state } from "./store.js";
import { rowOf } from "./scan.js";

const base = $("latent-base"), over = $("latent-over");
const MARGIN = 34;
let view = null;

// Computes the drawing transform; equal scales if both axes are latents.
function fitView(width, height) {
  const { points, clusters, axes } = state.decision;
  let [u0, u1, v0, v1] = [Infinity, -Infinity, Infinity, -Infinity];
  const include = (u, v) => { u0 = Math.min(u0, u); u1 = Math.max(u1, u); v0 = Math.min(v0, v); v1 = Math.max(v1, v); };
  for (let i = 0; i < points.u.length; i++) include(points.u[i], points.v[i]);
  const plane = !axes[1].startsWith("density");
  if (plane) for (const c of clusters) { const r = Math.max(...c.spread); include(c.centre[0] - r, c.centre[1] - r); include(c.centre[0] + r, c.centre[1] + r); }
  if (!(u1 > u0)) return null;
  let su = (width - MARGIN - 14) / (u1 - u0), sv = (height - MARGIN - 14) / (v1 - v0 || 1);
  if (plane) su = sv = Math.min(su, sv);
  const cu = (u0 + u1) / 2, cv = (v0 + v1) / 2, mx = MARGIN + (width - MARGIN) / 2, my = (height - MARGIN) / 2;
  const x = (u) => mx + (u - cu) * su, y = (v) => my - (v - cv) * sv;
  const xs = Float64Array.from(points.u, x), ys = Float64Array.from(points.v, y);
  return { x, y, su, sv, plane, xs, ys, u: [cu, (width - MARGIN) / su], v: [cv, (height - MARGIN) / sv], index: new Nearest(xs, ys) };
}

// The overlay uses the transform of the base, so both are drawn together.
function drawBoth() {
  drawBase();
  drawOver();
}

function drawBase() {
  const { context, width, height } = fit(base);
  view = null;
  head();
  if (!state.decision?.clusters.length) return drawNothing(context, width, height);
  view = fitView(width, height);
  if (!view) return;
  drawAxes(context, width, height);
  const { points, clusters } = state.decision;
  context.fillStyle = isDark() ? "rgba(180,190,200,.38)" : "rgba(90,100,110,.30)";
  for (let i = 0; i < points.u.length; i++) {
    if (!points.core[i] && shows(points.label[i])) context.fillRect(view.xs[i] - 1.1, view.ys[i] - 1.1, 2.2, 2.2);
  }
  for (const { cluster } of clusters) {
    if (!shows(cluster)) continue;
    context.beginPath();
    for (let i = 0; i < points.u.length; i++) if (points.core[i] && points.label[i] === cluster) marker(context, cluster, view.xs[i], view.ys[i], 3.4);
    context.fillStyle = colour(cluster);
    context.fill();
    context.lineWidth = 0.6;
    context.strokeStyle = isDark() ? "rgba(0,0,0,.7)" : "rgba(255,255,255,.9)";
    context.stroke();
  }
  for (const c of clusters) drawGaussian(context, c);
}

function drawGaussian(context, c) {
  context.globalAlpha = shows(c.cluster) ? 1 : 0.15;
  context.beginPath();
  if (view.plane) context.ellipse(view.x(c.centre[0]), view.y(c.centre[1]), Math.max(1, c.spread[0] * view.su), Math.max(1, c.spread[1] * view.sv), -c.angle_rad, 0, 7);
  else {
    const y = view.y(0) + 5;
    context.moveTo(view.x(c.centre[0] - c.spread[0]), y);
    context.lineTo(view.x(c.centre[0] + c.spread[0]), y);
  }
  context.strokeStyle = css("--card");
  context.lineWidth = 4;
  context.stroke();
  context.strokeStyle = colour(c.cluster);
  context.lineWidth = 2;
  context.stroke();
  const [x, y] = [view.x(c.centre[0]), view.plane ? view.y(c.centre[1]) : view.y(0) + 5];
  label(context, String(c.cluster), x, y);
  context.globalAlpha = 1;
}

function label(context, text, x, y) {
  context.font = "bold 13px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineWidth = 4;
  context.strokeStyle = css("--card");
  context.strokeText(text, x, y);
  context.fillStyle = css("--text");
  context.fillText(text, x, y);
  context.textBaseline = "alphabetic";
}

function drawAxes(context, width, height) {
  context.strokeStyle = css("--line");
  context.fillStyle = css("--dim");
  context.lineWidth = 1;
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "center";
  for (const u of ticks(view.u[0] - view.u[1] / 2, view.u[0] + view.u[1] / 2)) {
    const x = Math.round(view.x(u)) + 0.5;
    line(context, x, 0, x, height - MARGIN);
    context.fillText(u, x, height - MARGIN + 13);
  }
  context.textAlign = "right";
  if (view.plane) for (const v of ticks(view.v[0] - view.v[1] / 2, view.v[0] + view.v[1] / 2)) {
    const y = Math.round(view.y(v)) + 0.5;
    if (y > height - MARGIN - 4 || y < 8) continue;
    line(context, MARGIN, y, width, y);
    context.fillText(v, MARGIN - 5, y + 4);
  }
  context.textAlign = "center";
  context.fillText(state.decision.axes[0], MARGIN + (width - MARGIN) / 2, height - 5);
  context.save();
  context.translate(10, (height - MARGIN) / 2);
  context.rotate(-Math.PI / 2);
  context.fillText(state.decision.axes[1], 0, 0);
  context.restore();
}

function line(context, x0, y0, x1, y1) {
  context.beginPath();
  context.moveTo(x0, y0);
  context.lineTo(x1, y1);
  context.stroke();
}

function ticks(from, to) {
  const raw = (to - from) / 5, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw);
  const out = [];
  for (let t = Math.ceil(from / step) * step; t <= to; t += step) out.push(+t.toFixed(6));
  return out;
}

function drawNothing(context, width, height) {
  context.fillStyle = css("--dim");
  context.font = "13.5px system-ui, sans-serif";
  context.textAlign = "center";
  const text = !state.scan ? "Patches arranged by similarity appear here after the first scan." : state.decision ? "No types were found on this scan." : "The models are being trained on this scan …";
  context.fillText(text, width / 2, height / 2);
}

function drawOver() {
  const { context } = fit(over);
  if (!view || !state.decision) return;
  for (const place of state.places?.places ?? []) {
    const row = rowOf(place);
    if (row === null || !shows(place.cluster)) continue;
    const dropped = state.edits.drop.has(place.request_id) || place.state === "dropped";
    context.globalAlpha = dropped ? 0.3 : 1;
    ring(context, view.xs[row], view.ys[row], state.place === place.request_id ? 9 : 5.5, css("--ring"), 1.6);
    context.globalAlpha = 1;
  }
  if (state.hover !== null && state.hover < view.xs.length) {
    const [x, y] = [view.xs[state.hover], view.ys[state.hover]];
    ring(context, x, y, 8, css("--card"), 5);
    ring(context, x, y, 8, css("--accent"), 2.6);
  }
}

function ring(context, x, y, r, style, width) {
  context.beginPath();
  context.arc(x, y, r, 0, 7);
  context.strokeStyle = style;
  context.lineWidth = width;
  context.stroke();
}

over.addEventListener("pointermove", (event) => {
  if (!view) return;
  const box = over.getBoundingClientRect();
  const p = state.decision.points;
  const hover = view.index.find(event.clientX - box.left, event.clientY - box.top, 16, (i) => shows(p.label[i]));
  set({ hover, place: hover === null ? null : placeOf(hover) });
});
over.addEventListener("pointerleave", () => set({ hover: null, place: null }));
over.addEventListener("click", () => {
  if (state.hover === null) return set({ cluster: null });
  const cluster = state.decision.points.label[state.hover];
  set({ cluster: state.cluster === cluster ? null : cluster });
});

export function placeOf(row) {
  const p = state.decision.points;
  return (state.places?.places ?? []).find((place) => place.row === p.row[row] && place.col === p.col[row])?.request_id ?? null;
}

// Position of a key point on the canvas, in pixels.
export const pointOf = (row) => [view.xs[row], view.ys[row]];

function head() {
  const d = state.decision;
  $("latent-name").textContent = d?.chosen ? `${d.chosen}, window ${d.window_px} px, ${d.points.row.length} key points` : "";
  $("latent-read").textContent = d?.clusters.length ? "ellipses: 2 σ of each cluster; coloured: core points; rings: next points" : "";
}

export function startLatent() {
  on("decision cluster scan theme", drawBoth);
  on("places hover place edits", drawOver);
  new ResizeObserver(drawBoth).observe($("latent-box"));
}
