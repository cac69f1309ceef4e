// What the page knows and what the person points at. Panels listen; nobody draws from anything else.

export const state = {
  run: null,          // RunView
  status: null,       // the agent's own status (Control.status)
  instrument: null,   // id
  scan: null,         // ScanView, its channels filled with `values` as they come
  partial: null,      // a frame that is being recorded
  channel: null,      // number of the channel that is shown
  decision: null,     // DecisionView of the scan that is shown
  places: null,       // PlacesView
  loops: null,        // LoopsView
  timeline: [],
  progress: {},       // instrument -> {stage, done, total, ...}
  activity: {},       // instrument -> what it says it is doing
  pinned: null,       // a scan id chosen from the list; null: the newest
  hover: null,        // row of a key point
  place: null,        // request id that is pointed at
  cluster: null,      // selected cluster; null: all
  showPoints: true,
  edits: { drop: new Set(), move: new Map(), problems: new Map() },
  live: "connecting",
};

const listeners = new Map();

// Call `fn` whenever one of the space-separated names is told.
export function on(names, fn) {
  for (const name of names.split(" ")) {
    if (!listeners.has(name)) listeners.set(name, new Set());
    listeners.get(name).add(fn);
  }
}

// Put values in place and tell who listens, once each, in the next frame.
const told = new Set();
let due = false;
export function set(values) {
  for (const [name, value] of Object.entries(values)) {
    // An object may have changed inside; a number or a word that is the same is no news.
    if (state[name] === value && (value === null || typeof value !== "object")) continue;
    state[name] = value;
    told.add(name);
  }
  if (told.size && !due) {
    due = true;
    // Hidden pages get no frames, but must keep up.
    document.hidden ? setTimeout(flush, 0) : requestAnimationFrame(flush);
  }
}

function flush() {
  due = false;
  const fns = new Set();
  for (const name of told) for (const fn of listeners.get(name) ?? []) fns.add(fn);
  told.clear();
  for (const fn of fns) fn();
}

export const instrument = () => state.run?.instruments.find((i) => i.instrument_id === state.instrument) ?? null;
export const waiting = () => Boolean(state.places?.open && state.places.decision_id === state.decision?.decision_id);
export const edited = () => state.edits.drop.size > 0 || state.edits.move.size > 0;
export const clearEdits = () => set({ edits: { drop: new Set(), move: new Map(), problems: new Map() } });

// Whether something of this cluster is shown in full.
export const shows = (cluster) => state.cluster === null || state.cluster === cluster;

// Where a place is now: where it was moved to, or where it is.
export function placeXY(place) {
  return state.edits.move.get(place.request_id) ?? [place.x_m, place.y_m];
}
