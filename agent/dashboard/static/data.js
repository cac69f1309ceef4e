// Fetches the data that is shown; each scan and each decision only once.

import { visible } from "./format.js";
import { clearEdits, instrument, on, set, state } from "./store.js";

async function json(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return visible(await response.json());
}

const id = encodeURIComponent;
const scans = new Map(), decisions = new Map();

// Returns the cached promise for a key; keeps the last few.
function cached(map, key, make) {
  if (!map.has(key)) {
    map.set(key, make());
    map.get(key).catch(() => map.delete(key));
    if (map.size > 8) map.delete(map.keys().next().value);
  }
  return map.get(key);
}

// One load at a time; requests during a load lead to one more load afterwards.
let busy = false, again = false;
export async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    do {
      again = false;
      await load();
    } while (again);
  } catch {
    // live.js notices the lost connection and refreshes again after reconnecting.
  } finally {
    busy = false;
  }
}

async function load() {
  const run = await json("api/view");
  const known = run.instruments.some((i) => i.instrument_id === state.instrument);
  const first = run.instruments.find((i) => i.connected) ?? run.instruments[0];
  set({ run, ...(known ? {} : { instrument: first?.instrument_id ?? null }) });
  const rest = [loadTimeline(), loadStatus()];
  const shown = instrument()?.scans.find((s) => (state.pinned ? s.scan_id === state.pinned : true));
  if (!shown) return void (await Promise.all(rest));
  // The decision after its scan, so that the two always belong together.
  await Promise.all([...rest, loadScan(shown).then(() => loadDecision(shown))]);
}

async function loadTimeline() {
  const of = state.instrument ? `?instrument_id=${id(state.instrument)}` : "";
  set({ timeline: await json(`api/view/timeline${of}`) });
}

async function loadStatus() {
  set({ status: await json("api/status").catch(() => null) });
}

async function loadScan(line) {
  if (state.scan?.scan_id === line.scan_id && state.scan.instrument_id === state.instrument) return;
  const path = `api/view/scans/${id(state.instrument)}/${id(line.scan_id)}`;
  const scan = await cached(scans, path, () => json(path));
  const same = state.scan?.channels.map((c) => c.name).join() === scan.channels.map((c) => c.name).join();
  set({ scan, hover: null, ...(same ? {} : { channel: null }) });
  await loadChannel();
}

// Loads the values of the analysed channel, from which patches are cut, and of the channel shown.
export async function loadChannel() {
  const scan = state.scan;
  if (!scan) return;
  const path = `api/view/scans/${id(scan.instrument_id)}/${id(scan.scan_id)}/channels/`;
  await Promise.all([scan.main, state.channel ?? scan.main].map(async (n) => {
    const channel = scan.channels[n];
    if (channel.values) return;
    const response = await fetch(path + n);
    if (!response.ok) return;
    channel.values = new Float32Array(await response.arrayBuffer());
    if (state.scan === scan) set({ scan });
  }));
}

async function loadDecision(line) {
  const old = state.decision?.decision_id ?? null;
  if (!line.decision_id) {
    if (old !== null) { clearEdits(); set({ decision: null, places: null, loops: null, cluster: null }); }
    return;
  }
  const path = `api/view/decisions/${id(line.decision_id)}`;
  const [decision, places] = await Promise.all([cached(decisions, path, () => json(path)), json(`${path}/places`)]);
  if (old !== line.decision_id) { clearEdits(); set({ decision, loops: null, cluster: null, hover: null, place: null }); }
  const before = state.places;
  set({ places });
  const measured = (v) => v?.places.filter((p) => p.state === "ok").length ?? 0;
  if (old !== line.decision_id || measured(before) !== measured(places)) set({ loops: await json(`${path}/loops`) });
  // A decision that was settled meanwhile can no longer be edited.
  if (!places.open && (state.edits.drop.size || state.edits.move.size)) clearEdits();
}

export function startData() {
  on("channel", loadChannel);
  on("pinned instrument", refresh);
  on("stale", refresh);
}
