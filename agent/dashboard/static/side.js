// What the agent saw, believes and wants, in words; its next places; and the bar to say yes or no.

import { approve, reject, toggleDrop, undoMove } from "./actions.js";
import { mark } from "./paint.js";
import { $, el, left, num, parameter, plural, stage, um } from "./format.js";
import { clearEdits, edited, on, placeXY, set, shows, state, waiting } from "./store.js";
import { rowOf } from "./scan.js";

function drawWords() {
  const d = state.decision, box = $("words");
  if (!d || (state.partial && !state.pinned)) return box.replaceChildren(block("What it is doing", [undecided(), ...soFar()]), progressBlock());
  box.replaceChildren(
    ...d.warnings.map((w) => el("p", { class: "warning" }, w)),
    block("What it saw", d.saw),
    block("What it believes", d.believes, true),
    block("What it wants, and why", d.wants),
    el("details", {}, el("summary", {}, "In full"), el("p", {}, d.explanation)),
  );
}

function undecided() {
  const { partial } = state;
  if (partial) return `Recording scan ${partial.scan_id}: ${partial.recorded} of ${partial.frame.rows} lines have come. It is decided on once it is complete.`;
  const scan = state.scan, progress = state.progress[state.instrument];
  if (!scan) return "Waiting for the first scan.";
  const line = state.run?.instruments.find((i) => i.instrument_id === state.instrument)?.scans.find((s) => s.scan_id === scan.scan_id);
  if (line?.closed) return "No decision was made on this scan: a newer one came in, or it could not be used.";
  if (!progress) return "A scan has come in; the agent is looking at it.";
  return "Searching: several models learn, each in its own way, which patterns of the scan are alike. The best one decides.";
}

function progressBlock() {
  const p = state.partial ? null : state.progress[state.instrument];
  if (!p) return "";
  const bar = el("span");
  bar.style.width = `${Math.round(100 * p.share)}%`;
  return el("div", { class: "block" }, el("h3", {}, "How far"), el("p", {}, `${stage(p)}${left(p)}`), el("div", { class: "bar wide" }, bar));
}

// What would come of the search if it ended now.
function soFar() {
  const p = state.progress[state.instrument];
  return p?.places ? [`If it ended now, ${plural(p.places, "place")} would be measured.`] : [];
}

function block(title, sentences, lead = false) {
  return el("div", { class: "block" }, el("h3", {}, title), ...sentences.map((s, i) => el("p", { class: lead && i === 0 ? "lead" : "" }, s)));
}

const TONES = { ok: "good", failed: "bad", skipped: "bad", "not allowed": "bad", measuring: "busy", waiting: "", sent: "", dropped: "", "not measured": "" };
const STATES = {
  "waiting for approval": "warn", measured: "good", measuring: "busy", sent: "busy", rejected: "bad", "given up": "bad", "refused by the instrument": "bad",
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
  $("places").replaceChildren(...(v.approval ? [el("p", { class: "dim place" }, el("span"), el("span"), v.approval)] : []), ...v.places.map(line));
  drawBar();
}

function line(place) {
  const id = place.request_id, open = waiting();
  const [x, y] = placeXY(place);
  const dropped = state.edits.drop.has(id) || place.state === "dropped", moved = state.edits.move.has(id);
  const numbers = Object.entries(place.parameters).filter(([n]) => n.endsWith("_V")).slice(0, 2);
  const says = dropped ? "dropped" : moved ? "moved" : place.state === "waiting" ? "" : place.state;
  const problem = state.edits.problems.get(id);
  return el(
    "div",
    {
      class: `place${dropped ? " dropped" : ""}${state.place === id ? " hover" : ""}${shows(place.cluster) ? "" : " faint"}`, "data-id": id,
      title: numbers.map(([n, value]) => `${parameter(n)}: ${num(value)}`).join(", "),
      onpointerenter: () => set({ place: id, hover: rowOf(place) }), onpointerleave: () => set({ place: null, hover: null }),
    },
    el("span", { class: "n" }, String(place.number)), mark(place.cluster),
    el("span", { class: "where" }, `${um(x)}, ${um(y)} µm `, el("span", { class: "dim" }, place.state === "ok" && numbers.length ? numbers.map(([, value]) => `${num(value)} V`).join(", ") : `cluster ${place.cluster}`)),
    el("span", { class: `what ${TONES[place.state] ?? ""}` }, says),
    open && el("button", { "aria-label": dropped ? `take place ${place.number} back` : moved ? `move place ${place.number} back` : `drop place ${place.number}`, onclick: () => (moved ? undoMove(id) : toggleDrop(id)) }, dropped ? "take back" : moved ? "move back" : "✕"),
    problem && el("span", { class: "problem" }, problem),
    !problem && place.reason && place.state !== "ok" && el("span", { class: "why" }, place.reason),
  );
}

function pointAt() {
  for (const row of $("places").children) {
    const mine = row.dataset.id === state.place;
    row.classList.toggle("hover", mine);
    if (mine && !row.matches(":hover")) row.scrollIntoView({ block: "nearest" });
  }
}

function drawBar() {
  const v = state.places;
  if (!v.open) return;
  const { drop, move, problems } = state.edits;
  const left = v.places.length - drop.size;
  const changes = [drop.size && `${drop.size} dropped`, move.size && `${move.size} moved`].filter(Boolean).join(", ");
  $("approve-text").textContent = problems.size
    ? `${plural(problems.size, "place")} may not be measured where ${problems.size === 1 ? "it is" : "they are"}: move back or drop.`
    : `${plural(left, "place")} wait for your yes${changes ? ` (${changes})` : ". Drag on the scan to move, ✕ to drop"}.`;
  $("approve").textContent = left ? `Approve ${plural(left, "place")}` : "Approve none";
  $("approve").disabled = problems.size > 0 || left === 0 || state.live === "gone";
  $("reject").disabled = state.live === "gone";
  $("undo").hidden = !edited();
}

export function startSide() {
  on("decision scan progress run instrument partial pinned", drawWords);
  on("places decision edits cluster live", drawPlaces);
  on("place", pointAt);
  $("approve").addEventListener("click", approve);
  $("reject").addEventListener("click", reject);
  $("undo").addEventListener("click", clearEdits);
}
