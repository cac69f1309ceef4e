// Summary of the decision in words, the recommended points, and the bar to approve or reject them.

import { approve, reject, toggleDrop, undoMove } from "./actions.js";
import { mark } from "./paint.js";
import { $, el, left, num, parameter, plural, stage, um } from "./format.js";
import { clearEdits, edited, on, placeXY, set, shows, state, waiting } from "./store.js";
import { rowOf } from "./scan.js";

function drawSummary() {
  const d = state.decision, box = $("summary");
  if (!d || (state.partial && !state.pinned)) return box.replaceChildren(block("Now", [activityText(), ...provisionalText()]), progressBlock());
  box.replaceChildren(
    ...d.warnings.map((w) => el("p", { class: "warning" }, w)),
    block("What the agent saw", d.saw),
    block("What it concluded", d.believes, true),
    block("Where to measure, and why", d.wants),
    el("details", {}, el("summary", {}, "Full explanation"), el("p", {}, d.explanation)),
  );
}

function activityText() {
  const { partial } = state;
  if (partial) return `Recording scan ${partial.scan_id}: ${partial.recorded} of ${partial.frame.rows} lines received. The search starts when it is complete.`;
  const scan = state.scan, progress = state.progress[state.instrument];
  if (!scan) return "Waiting for the first scan.";
  const line = state.run?.instruments.find((i) => i.instrument_id === state.instrument)?.scans.find((s) => s.scan_id === scan.scan_id);
  if (line?.closed) return "No decision was made on this scan: it was superseded by a newer one, or the search was cancelled.";
  if (!progress) return "A scan has been received; the search is about to start.";
  return "Searching: several models are trained on the patches of this scan and compared. The best one decides where to measure.";
}

function progressBlock() {
  const p = state.partial ? null : state.progress[state.instrument];
  if (!p) return "";
  const bar = el("span");
  bar.style.width = `${Math.round(100 * p.share)}%`;
  return el("div", { class: "block" }, el("h3", {}, "Progress"), el("p", {}, `${stage(p)}${left(p)}`), el("div", { class: "bar wide" }, bar));
}

// Result of the search if it ended now.
function provisionalText() {
  const p = state.progress[state.instrument];
  return p?.places ? [`If the search ended now, ${plural(p.places, "point")} would be recommended.`] : [];
}

function block(title, sentences, lead = false) {
  return el("div", { class: "block" }, el("h3", {}, title), ...sentences.map((s, i) => el("p", { class: lead && i === 0 ? "lead" : "" }, s)));
}

const TONES = { ok: "good", failed: "bad", skipped: "bad", "not allowed": "bad", measuring: "busy", waiting: "", sent: "", dropped: "", "not measured": "" };
const STATES = {
  "waiting for approval": "warn", measured: "good", measuring: "busy", sent: "busy", rejected: "bad", cancelled: "bad", "refused by the instrument": "bad",
};

function drawPlaces() {
  const v = state.places, d = state.decision;
  const matching = v && d && v.decision_id === d.decision_id;
  $("next").hidden = !matching || !v.places.length;
  $("approve-bar").hidden = !matching || !v.open;
  if (!matching) return;
  const pill = $("places-state");
  const done = v.places.filter((p) => ["ok", "failed", "skipped"].includes(p.state)).length;
  pill.textContent = v.state === "measuring" ? `measuring, ${done} of ${v.places.length}` : v.state;
  pill.title = v.approval;
  pill.className = `pill ${STATES[v.state] ?? ""}`;
  $("places").replaceChildren(...(v.approval ? [el("p", { class: "dim place" }, el("span"), el("span"), v.approval)] : []), ...v.places.map(row));
  drawBar();
}

function row(place) {
  const id = place.request_id, open = waiting();
  const [x, y] = placeXY(place);
  const dropped = state.edits.drop.has(id) || place.state === "dropped", moved = state.edits.move.has(id);
  const voltages = Object.entries(place.parameters).filter(([n]) => n.endsWith("_V")).slice(0, 2);
  const label = dropped ? "dropped" : moved ? "moved" : place.state === "waiting" ? "" : place.state;
  const problem = state.edits.problems.get(id);
  return el(
    "div",
    {
      class: `place${dropped ? " dropped" : ""}${state.place === id ? " hover" : ""}${shows(place.cluster) ? "" : " faint"}`, "data-id": id,
      title: voltages.map(([n, value]) => `${parameter(n)}: ${num(value)}`).join(", "),
      onpointerenter: () => set({ place: id, hover: rowOf(place) }), onpointerleave: () => set({ place: null, hover: null }),
    },
    el("span", { class: "n" }, String(place.number)), mark(place.cluster),
    el("span", { class: "where" }, `${um(x)}, ${um(y)} µm `, el("span", { class: "dim" }, place.state === "ok" && voltages.length ? voltages.map(([, value]) => `${num(value)} V`).join(", ") : `cluster ${place.cluster}`)),
    el("span", { class: `what ${TONES[place.state] ?? ""}` }, label),
    open && el("button", { "aria-label": dropped ? `restore point ${place.number}` : moved ? `move point ${place.number} back` : `drop point ${place.number}`, onclick: () => (moved ? undoMove(id) : toggleDrop(id)) }, dropped ? "restore" : moved ? "move back" : "✕"),
    problem && el("span", { class: "problem" }, problem),
    !problem && place.reason && place.state !== "ok" && el("span", { class: "why" }, place.reason),
  );
}

function highlight() {
  for (const element of $("places").children) {
    const selected = element.dataset.id === state.place;
    element.classList.toggle("hover", selected);
    if (selected && !element.matches(":hover")) element.scrollIntoView({ block: "nearest" });
  }
}

function drawBar() {
  const v = state.places;
  if (!v.open) return;
  const { drop, move, problems } = state.edits;
  const left = v.places.length - drop.size;
  const changes = [drop.size && `${drop.size} dropped`, move.size && `${move.size} moved`].filter(Boolean).join(", ");
  $("approve-text").textContent = problems.size
    ? `${plural(problems.size, "point")} may not be measured where ${problems.size === 1 ? "it is" : "they are"}: move back or drop.`
    : `${plural(left, "point")} ${left === 1 ? "waits" : "wait"} for your approval${changes ? ` (${changes})` : ". Drag a point on the scan to move it, ✕ drops it"}.`;
  $("approve").textContent = left ? `Approve ${plural(left, "point")}` : "Approve none";
  $("approve").disabled = problems.size > 0 || left === 0 || state.live === "gone";
  $("reject").disabled = state.live === "gone";
  $("undo").hidden = !edited();
}

export function startSide() {
  on("decision scan progress run instrument partial pinned", drawSummary);
  on("places decision edits cluster live", drawPlaces);
  on("place", highlight);
  $("approve").addEventListener("click", approve);
  $("reject").addEventListener("click", reject);
  $("undo").addEventListener("click", clearEdits);
}
