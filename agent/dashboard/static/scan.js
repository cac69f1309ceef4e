// The scan with key points and recommended points; points can be selected and, while they wait for approval, moved.

import { roundLength, layout, toMetres, toPixels } from "./geometry.js";
import { Nearest } from "./nearest.js";
import { colour, fit, greyPicture, marker } from "./paint.js";
import { $, el, num, size, um } from "./format.js";
import { on, placeXY, set, shows, state, waiting } from "./store.js";
import { checkEdits } from "./actions.js";

const base = $("scan-base"), over = $("scan-over");
let picture = null, near = null, dragging = null;

// The scan that is drawn: an unfinished one has precedence over the last complete one.
const drawn = () => (state.partial && !state.pinned ? state.partial : state.scan);

function drawBase() {
  const scan = drawn();
  const { context, width, height } = fit(base);
  if (!scan) return;
  const at = layout(scan.frame, width, height);
  const channel = scan === state.partial ? scan.channel : scan.channels[state.channel ?? scan.main];
  const values = channel.values;
  if (values) {
    if (picture?.of !== values) picture = { of: values, image: greyPicture(values, scan.frame.rows, scan.frame.cols, channel.low, channel.high) };
    context.imageSmoothingEnabled = false;
    context.drawImage(picture.image, at.left, at.top, at.w, at.h);
  }
  if (scan === state.scan && state.showPoints && state.decision) drawPoints(context, layout(state.decision.frame, width, height));
  drawScale(context, at, scan.frame);
}

function drawPoints(context, at) {
  const p = state.decision.points;
  context.fillStyle = "rgba(255,255,255,.55)";
  for (let i = 0; i < p.row.length; i++) {
    if (p.core[i] || !shows(p.label[i])) continue;
    context.fillRect(at.x(p.col[i]) - 0.75, at.y(p.row[i]) - 0.75, 1.5, 1.5);
  }
  for (const { cluster } of state.decision.clusters) {
    if (!shows(cluster)) continue;
    context.beginPath();
    for (let i = 0; i < p.row.length; i++) {
      if (p.core[i] && p.label[i] === cluster) marker(context, cluster, at.x(p.col[i]), at.y(p.row[i]), 3.2);
    }
    context.fillStyle = colour(cluster, false);
    context.strokeStyle = "#fff";
    context.lineWidth = 0.8;
    context.fill();
    context.stroke();
  }
}

function drawScale(context, at, frame) {
  const metres = roundLength(frame.size_fast_m / 4);
  const w = (metres / frame.size_fast_m) * at.w, x = at.left + 12, y = at.top + at.h - 14;
  context.fillStyle = "rgba(0,0,0,.6)";
  context.fillRect(x - 6, y - 17, w + 12, 25);
  context.fillStyle = "#fff";
  context.fillRect(x, y, w, 3);
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "center";
  context.fillText(size(metres), x + w / 2, y - 4);
}

function drawOver() {
  const { context, width, height } = fit(over);
  const scan = state.scan;
  if (!scan || drawn() !== scan) return;
  const at = layout(scan.frame, width, height);
  for (const place of state.places?.places ?? []) drawPlace(context, at, place);
  if (state.hover !== null && state.decision) {
    const p = state.decision.points, w = state.decision.window_px || 9;
    const at = layout(state.decision.frame, width, height); // key points are pixels of the analysed frame
    const x = at.x(p.col[state.hover]), y = at.y(p.row[state.hover]);
    for (const [style, line] of [["#000", 4], ["#fff", 2]]) {
      context.strokeStyle = style;
      context.lineWidth = line;
      context.strokeRect(x - (w / 2) * at.perCol, y - (w / 2) * at.perRow, w * at.perCol, w * at.perRow);
    }
  }
}

function drawPlace(context, at, place) {
  const [x, y] = screen(at, place);
  const dropped = state.edits.drop.has(place.request_id) || place.state === "dropped";
  const invalid = state.edits.problems.has(place.request_id);
  const selected = state.place === place.request_id;
  context.globalAlpha = dropped ? 0.35 : shows(place.cluster) ? 1 : 0.15;
  const r = selected ? 11 : 8.5;
  if (state.edits.move.has(place.request_id)) {
    const [row, col] = toPixels(state.scan.frame, place.x_m, place.y_m);
    stroke(context, "#fff", 1, () => { context.moveTo(at.x(col), at.y(row)); context.lineTo(x, y); });
  }
  stroke(context, "#fff", 5, () => context.arc(x, y, r, 0, 7));
  stroke(context, invalid ? "#e0383d" : colour(place.cluster, false), invalid ? 4 : 2.6, () => context.arc(x, y, r, 0, 7));
  if (place.state === "ok") {
    context.beginPath();
    context.arc(x, y, 3.5, 0, 7);
    context.fillStyle = colour(place.cluster, false);
    context.fill();
  }
  if (place.state === "failed" || place.state === "skipped" || dropped) {
    stroke(context, "#e0383d", 2.4, () => {
      context.moveTo(x - 5, y - 5); context.lineTo(x + 5, y + 5); context.moveTo(x + 5, y - 5); context.lineTo(x - 5, y + 5);
    });
  }
  if (place.state === "measuring") stroke(context, "#fff", 2, () => context.arc(x, y, r + 5, 0, 7));
  context.font = "bold 11.5px system-ui, sans-serif";
  context.textAlign = "center";
  context.lineWidth = 3;
  context.strokeStyle = "#000";
  context.fillStyle = "#fff";
  const right = x + r + 9 < at.left + at.w ? x + r + 7 : x - r - 7;
  context.strokeText(place.number, right, y - r + 5);
  context.fillText(place.number, right, y - r + 5);
  context.globalAlpha = 1;
}

function stroke(context, style, width, path) {
  context.beginPath();
  path();
  context.strokeStyle = style;
  context.lineWidth = width;
  context.stroke();
}

function screen(at, place) {
  const [row, col] = toPixels(state.scan.frame, ...placeXY(place));
  return [at.x(col), at.y(row)];
}

function pointer(event) {
  const box = over.getBoundingClientRect();
  const at = layout(drawn().frame, box.width, box.height);
  return { at, x: event.clientX - box.left, y: event.clientY - box.top };
}

function placeAt(at, x, y) {
  return (state.places?.places ?? []).find((place) => {
    const [px, py] = screen(at, place);
    return Math.hypot(px - x, py - y) < 12 && shows(place.cluster);
  });
}

over.addEventListener("pointermove", (event) => {
  if (!drawn()) return;
  const { at, x, y } = pointer(event);
  if (dragging) return drag(at, x, y);
  const row = at.row(y), col = at.col(x);
  showValue(row, col);
  if (drawn() !== state.scan) return;
  const place = placeAt(at, x, y);
  over.classList.toggle("grab", Boolean(place && waiting()));
  const points = state.decision?.points;
  if (points && near?.points !== points) near = { points, index: new Nearest(points.col, points.row) };
  const wanted = (i) => shows(points.label[i]);
  const hover = points?.row.length ? near.index.find(...inAnalysed(col, row), (12 * state.decision.frame.cols) / at.w, wanted) : null;
  set({ hover: place ? rowOf(place) : hover, place: place?.request_id ?? null });
});

// Pixel (col, row) of the analysed frame at a pixel of the scan; the two differ where the scan's pixels are not square.
function inAnalysed(col, row) {
  const own = state.scan.frame, frame = state.decision.frame;
  return [(col * (frame.cols - 1)) / (own.cols - 1), (row * (frame.rows - 1)) / (own.rows - 1)];
}

// Index of the key point of a recommended point, or null.
export function rowOf(place) {
  const p = state.decision?.points;
  if (!p) return null;
  for (let i = 0; i < p.row.length; i++) if (p.row[i] === place.row && p.col[i] === place.col) return i;
  return null;
}

over.addEventListener("pointerleave", () => { if (!dragging) set({ hover: null, place: null }); });

over.addEventListener("pointerdown", (event) => {
  if (!state.scan || drawn() !== state.scan) return;
  const { at, x, y } = pointer(event);
  const place = placeAt(at, x, y);
  if (place && waiting() && !state.edits.drop.has(place.request_id)) {
    dragging = { place, x, y, moved: false };
    over.setPointerCapture(event.pointerId);
    event.preventDefault();
  } else if (place) set({ place: place.request_id, hover: rowOf(place) });
});

function drag(at, x, y) {
  if (!dragging.moved && Math.hypot(x - dragging.x, y - dragging.y) < 4) return;
  dragging.moved = true;
  state.edits.move.set(dragging.place.request_id, toMetres(state.scan.frame, at.row(y), at.col(x)));
  set({ edits: state.edits, place: dragging.place.request_id });
  checkEdits();
}

over.addEventListener("pointerup", () => { dragging = null; });
over.addEventListener("pointercancel", () => { dragging = null; });

function showValue(row, col) {
  const scan = drawn();
  const r = Math.round(row), c = Math.round(col);
  if (r < 0 || c < 0 || r >= scan.frame.rows || c >= scan.frame.cols) return;
  const channel = scan === state.partial ? scan.channel : scan.channels[state.channel ?? scan.main];
  const [x, y] = toMetres(scan.frame, row, col);
  const value = channel.values ? channel.values[r * scan.frame.cols + c] * channel.factor : NaN;
  $("scan-read").textContent = `x ${um(x)} µm, y ${um(y)} µm: ${num(value)} ${channel.shown_unit}`;
}

function head() {
  const scan = drawn();
  if (!scan) return;
  const rotation = scan.frame.angle_rad ? `, rotated by ${num((scan.frame.angle_rad * 180) / Math.PI)}°` : "";
  const part = scan === state.partial ? `: ${scan.recorded} of ${scan.frame.rows} lines` : "";
  $("scan-name").textContent = `${scan.scan_id}${part}${rotation}`;
  const chooser = $("channel");
  chooser.hidden = scan === state.partial;
  const key = state.scan && `${state.scan.scan_id}`;
  if (state.scan && chooser.dataset.of !== key) {
    chooser.dataset.of = key;
    chooser.replaceChildren(...state.scan.channels.map((c, i) => el("option", { value: i }, `${c.name} (${c.shown_unit || "no unit"})`)));
  }
  if (state.scan) chooser.value = state.channel ?? state.scan.main;
  const channel = scan === state.partial ? scan.channel : scan.channels[state.channel ?? scan.main];
  $("scan-read").textContent = `${channel.name}: black ${num(channel.low * channel.factor)}, white ${num(channel.high * channel.factor)} ${channel.shown_unit}`;
}

export function startScan() {
  on("scan partial channel decision cluster showPoints theme pinned", drawBase);
  on("scan partial channel decision places hover place cluster edits theme pinned", drawOver);
  on("scan partial channel pinned", head);
  $("channel").addEventListener("change", (event) => set({ channel: Number(event.target.value) }));
  $("show-points").addEventListener("change", (event) => set({ showPoints: event.target.checked }));
  new ResizeObserver(() => { drawBase(); drawOver(); }).observe($("scan-box"));
}
