// Keyboard: navigation through points and clusters, and the operator's actions.

import { approve, emergencyStop, pause, resume, showKeys, toggleDrop } from "./actions.js";
import { asking } from "./ask.js";
import { set, shows, state, waiting } from "./store.js";
import { rowOf } from "./scan.js";
import { showTab, TABS } from "./tabs.js";

function step(by) {
  const places = (state.places?.places ?? []).filter((p) => shows(p.cluster));
  if (!places.length) return;
  const now = places.findIndex((p) => p.request_id === state.place);
  const next = places[now < 0 ? (by > 0 ? 0 : places.length - 1) : (now + by + places.length) % places.length];
  set({ place: next.request_id, hover: rowOf(next) });
}

function stepCluster(by) {
  const clusters = [null, ...(state.decision?.clusters ?? []).map((c) => c.cluster)];
  const now = clusters.indexOf(state.cluster);
  set({ cluster: clusters[(now + by + clusters.length) % clusters.length], place: null, hover: null });
}

const KEYS = {
  ArrowRight: () => step(1),
  ArrowLeft: () => step(-1),
  ArrowDown: () => stepCluster(1),
  ArrowUp: () => stepCluster(-1),
  x: () => state.place && toggleDrop(state.place),
  Delete: () => state.place && toggleDrop(state.place),
  Enter: () => waiting() && approve(),
  p: pause,
  r: resume,
  S: emergencyStop,
  "?": showKeys,
  Escape: () => set({ cluster: null, place: null, hover: null }),
  ...Object.fromEntries(TABS.map((tab, i) => [String(i + 1), () => showTab(tab)])),
};

export function startKeys() {
  document.addEventListener("keydown", (event) => {
    if (asking() || event.ctrlKey || event.metaKey || event.altKey) return;
    const focused = event.target;
    if (focused.matches("input, select, textarea")) return;
    if (event.key === "Enter" && focused.matches("button, summary, a, [tabindex]:not(canvas)")) return;
    const action = KEYS[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
