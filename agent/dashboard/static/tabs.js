// Tabs: loops, candidates, timeline, scans, health. Only the visible one is drawn.

import { drawCandidates } from "./candidates.js";
import { drawHealth } from "./health.js";
import { drawLoops } from "./loops.js";
import { $, clock, date, el, plural } from "./format.js";
import { instrument, on, set, state } from "./store.js";

const DRAW = { loops: drawLoops, candidates: drawCandidates, timeline: drawTimeline, scans: drawScans, health: drawHealth };
export const TABS = Object.keys(DRAW);
let shown = "loops";

export function showTab(name) {
  shown = name;
  for (const button of $("tabs").children) button.setAttribute("aria-selected", String(button.dataset.tab === name));
  for (const tab of TABS) $(`tab-${tab}`).hidden = tab !== name;
  draw();
}

const draw = () => DRAW[shown]($(`tab-${shown}`));
const drawIf = (name) => () => { if (shown === name) draw(); };

function drawTimeline(box) {
  const entries = state.timeline.map((e) => el(
    "div", { class: `entry ${e.tone}` }, el("span", { class: "when", title: date(e.at) }, clock(e.at)), el("span", { class: "dot" }),
    el("span", {}, el("span", { class: "title" }, e.title), " ", el("span", { class: "text" }, e.text)),
  ));
  box.replaceChildren(...(entries.length ? entries : [el("p", { class: "dim" }, "Nothing has happened yet.")]));
}

function drawScans(box) {
  const scans = instrument()?.scans ?? [];
  if (!scans.length) return box.replaceChildren(el("p", { class: "dim" }, "No scan yet."));
  const rows = scans.map((s, i) => el(
    "tr", { class: `link${s.scan_id === state.scan?.scan_id ? " chosen" : ""}`, tabindex: "0", onclick: () => set({ pinned: i ? s.scan_id : null }), onkeydown: (e) => { if (e.key === "Enter") { e.stopPropagation(); set({ pinned: i ? s.scan_id : null }); } } },
    el("td", {}, clock(s.at)), el("td", {}, s.scan_id), el("td", {}, s.sample_id),
    el("td", {}, s.outcome_text || (s.closed ? "no decision" : i ? "" : "undecided")),
    el("td", { class: "num" }, s.places ? `${s.measured} of ${plural(s.places, "point")}` : ""),
  ));
  box.replaceChildren(
    state.pinned ? el("p", {}, el("button", { onclick: () => set({ pinned: null }) }, "Back to the newest scan")) : "",
    el("div", { class: "scroll" }, el("table", {}, el("tr", {}, ...["time", "scan", "sample", "outcome", "measured"].map((t) => el("th", {}, t))), ...rows)),
  );
}

export function startTabs() {
  for (const button of $("tabs").children) button.addEventListener("click", () => showTab(button.dataset.tab));
  on("loops cluster theme decision", drawIf("loops"));
  on("decision theme", drawIf("candidates"));
  on("timeline", drawIf("timeline"));
  on("run scan pinned instrument", drawIf("scans"));
  on("status run live activity", drawIf("health"));
  showTab(shown);
}
