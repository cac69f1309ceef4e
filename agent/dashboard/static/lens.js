// Patches: the one pointed at with its reconstruction, and the mean and most typical patches of each cluster.

import { clearSmall, drawSmall, mark } from "./paint.js";
import { $, el, num, percent, plural, um } from "./format.js";
import { rowOf } from "./scan.js";
import { on, set, shows, state } from "./store.js";

const BLOCK = 256;
const EXAMPLES = 4;
let blocks = new Map(), blocksOf = null;

// Patch around a key point, cut from the analysed channel; null until the channel is loaded.
function patch(row) {
  const { points, window_px: w } = state.decision;
  const scan = state.scan, values = scan?.channels[scan.main].values;
  if (!values || scan.scan_id !== state.decision.scan_id || !w) return null;
  const out = new Float32Array(w * w), half = Math.floor(w / 2);
  const { rows, cols } = scan.frame, analysed = state.decision.frame;
  const perRow = (rows - 1) / (analysed.rows - 1), perCol = (cols - 1) / (analysed.cols - 1);
  for (let r = 0; r < w; r++) {
    const [up, down, y] = between((points.row[row] - half + r) * perRow, rows);
    for (let c = 0; c < w; c++) {
      const [left, right, x] = between((points.col[row] - half + c) * perCol, cols);
      const at = (i) => values[i * cols + left] * (1 - x) + values[i * cols + right] * x;
      out[r * w + c] = at(up) * (1 - y) + at(down) * y;
    }
  }
  return out;
}

// Pixels before and after a position between pixels, and its distance from the former.
function between(position, count) {
  const whole = Math.floor(position + 1e-9);
  return [whole, Math.min(whole + 1, count - 1), Math.max(position - whole, 0)];
}

function drawPatch(canvas, values) {
  const scan = state.scan, channel = scan.channels[scan.main];
  drawSmall(canvas, values, state.decision.window_px, channel.low, channel.high);
}

// Reconstructions are fetched in blocks: one request for 256 key points.
async function reconstruction(row) {
  const { decision_id: id, window_px: w } = state.decision;
  if (blocksOf !== id) { blocks = new Map(); blocksOf = id; }
  const first = Math.floor(row / BLOCK) * BLOCK;
  if (!blocks.has(first)) {
    blocks.set(first, fetch(`api/view/decisions/${id}/reconstructions?first=${first}`).then(async (r) => (r.ok ? new Uint8Array(await r.arrayBuffer()) : null)).catch(() => null));
  }
  const block = await blocks.get(first), n = w ** 2;
  return block?.subarray((row - first) * n, (row - first + 1) * n) ?? null;
}

async function drawLens() {
  const d = state.decision, first = state.places?.places[0];
  // Without the pointer on a key point, the first recommended point is shown.
  const row = state.hover ?? (d && first && state.places.decision_id === d.decision_id ? rowOf(first) : null);
  if (!d || !d.window_px || row === null || row >= d.points.row.length) return clearLens();
  const values = patch(row);
  values ? drawPatch($("lens-patch"), values) : clearSmall($("lens-patch"));
  $("lens-how").textContent = d.reconstruction.startsWith("by") ? "reconstruction" : "fit to its latents";
  $("lens-how").title = d.reconstruction;
  const p = d.points, place = state.places?.places.find((q) => (state.place ? q.request_id === state.place : state.hover === null && q === first));
  $("lens-text").replaceChildren(
    el("b", {}, place ? `Point ${place.number}, cluster ${p.label[row]}` : `Key point, cluster ${p.label[row]}`), el("br"),
    `${p.core[row] ? "core point" : "not a core point"}, ${num(p.distance[row], 2)} σ from the centre`, el("br"),
    el("span", { class: "dim" }, `x ${um(p.x_m[row])}, y ${um(p.y_m[row])} µm`),
  );
  const reconstructed = await reconstruction(row);
  if ((state.hover !== null && state.hover !== row) || state.decision !== d) return;
  reconstructed ? drawSmall($("lens-reconstruction"), reconstructed, d.window_px, 0, 255) : clearSmall($("lens-reconstruction"));
}

function clearLens() {
  const d = state.decision;
  clearSmall($("lens-patch"));
  clearSmall($("lens-reconstruction"));
  $("lens-text").replaceChildren(el("span", { class: "dim" }, d?.window_px ? "Point at a key point, on the scan or in the latent space, to see its patch and its reconstruction." : ""));
}

function drawStrip() {
  const d = state.decision, strip = $("strip");
  if (!d?.clusters.length) return strip.replaceChildren(el("p", { class: "dim" }, d ? "No types were found on this scan." : "Types appear here once a decision is made."));
  const cards = d.clusters.map((c) => card(d, c));
  strip.replaceChildren(...cards);
}

function card(d, c) {
  const p = d.points;
  const core = [];
  for (let i = 0; i < p.row.length; i++) if (p.core[i] && p.label[i] === c.cluster) core.push(i);
  core.sort((a, b) => p.distance[a] - p.distance[b]);
  const patches = core.map(patch).filter(Boolean);
  const gallery = el("div", { class: "patches" });
  if (patches.length) {
    const mean = new Float32Array(d.window_px ** 2);
    for (const one of patches) for (let k = 0; k < mean.length; k++) mean[k] += one[k] / patches.length;
    const big = el("canvas", { class: "mean", title: `mean of ${patches.length} core patches` });
    drawPatch(big, mean);
    gallery.append(big);
    core.slice(0, EXAMPLES).forEach((row, i) => {
      const small = el("canvas", { title: "most typical first" });
      drawPatch(small, patches[i]);
      small.addEventListener("pointerenter", () => set({ hover: row }));
      small.addEventListener("pointerleave", () => set({ hover: null }));
      gallery.append(small);
    });
  }
  const button = el(
    "button",
    { class: `type${shows(c.cluster) ? "" : " faint"}`, "aria-pressed": String(state.cluster === c.cluster), title: `${plural(c.points, "key point")}, ${c.core_points} core points; click to show only this cluster`, onclick: () => set({ cluster: state.cluster === c.cluster ? null : c.cluster }) },
    el("div", { class: "name" }, mark(c.cluster), `cluster ${c.cluster}`, el("span", { class: "dim" }, percent(c.share))), gallery,
  );
  return button;
}

export function startLens() {
  on("hover decision scan place places", drawLens);
  on("decision scan cluster theme", drawStrip);
}
