// State of the page: data from the agent, selection and edits. Panels subscribe to it and draw from nothing else.

export const state = {
  run: null,          // RunView
  status: null,       // status of the agent (GET /api/status)
  instrument: null,   // id
  scan: null,         // ScanView; `values` are added to its channels when loaded
  partial: null,      // an unfinished scan
  channel: null,      // index of the channel shown
  decision: null,     // DecisionView of the scan shown
  places: null,       // PlacesView
  loops: null,        // LoopsView
  timeline: [],
  progress: {},       // instrument -> {stage, done, total, ...}
  activity: {},       // instrument -> what it reports it is doing
  pinned: null,       // scan id selected in the list; null: the newest
  hover: null,        // index of the key point pointed at
  place: null,        // id of the request pointed at
  cluster: null,      // selected cluster; null: all
  showPoints: true,
  edits: { drop: new Set(), move: new Map(), problems: new Map() },
  live: "connecting",
};

const listeners = new Map();

// Calls `fn` whenever one of the space-separated keys changes.
export function on(names, fn) {
  for (const name of names.split(" ")) {
    if (!listeners.has(name)) listeners.set(name, new Set());
    listeners.get(name).add(fn);
  }
}

// Sets values and notifies subscribers, each once, in the next animation frame.
const changed = new Set();
let scheduled = false;
export function set(values) {
  for (const [name, value] of Object.entries(values)) {
    // Objects may have been modified in place; equal primitives are no change.
    if (state[name] === value && (value === null || typeof value !== "object")) continue;
    state[name] = value;
    changed.add(name);
  }
  if (changed.size && !scheduled) {
    scheduled = true;
    // Hidden pages get no animation frames but must stay up to date.
    document.hidden ? setTimeout(flush, 0) : requestAnimationFrame(flush);
  }
}

function flush() {
  scheduled = false;
  const fns = new Set();
  for (const name of changed) for (const fn of listeners.get(name) ?? []) fns.add(fn);
  changed.clear();
  for (const fn of fns) fn();
}

export const instrument = () => state.run?.instruments.find((i) => i.instrument_id === state.instrument) ?? null;
export const waiting = () => Boolean(state.places?.open && state.places.decision_id === state.decision?.decision_id);
export const edited = () => state.edits.drop.size > 0 || state.edits.move.size > 0;
export const clearEdits = () => set({ edits: { drop: new Set(), move: new Map(), problems: new Map() } });

// Whether points of this cluster are shown at full opacity.
export const shows = (cluster) => state.cluster === null || state.cluster === cluster;

// Position of a recommended point, including a move by the operator.
export function placeXY(place) {
  return state.edits.move.get(place.request_id) ?? [place.x_m, place.y_m];
}

// Whether no command can reach the agent at present, as far as the page knows.
export const unreachable = () => state.live === "reconnecting" || state.live === "gone";
