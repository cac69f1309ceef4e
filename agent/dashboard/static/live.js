// Live updates: recorded events from one stream that resumes by sequence number, and unrecorded state by polling.
//
// All tabs of a browser share one stream: a browser opens six connections to a server at most, and one stream each would leave none
// for the emergency stop. The tab that holds the lock reads the stream and informs the others; when it is closed, the next takes over.

import { refresh } from "./data.js";
import { visible } from "./format.js";
import { set, state } from "./store.js";

const GONE_S = 12, POLL_MS = 400, RETRY_MS = [300, 700, 1500, 3000];
const LOCK = "vaestar-stream", tabs = new BroadcastChannel("vaestar-live");
let lastSeq = null, fails = 0, lostSince = null, reading = false;

function onConnected() {
  fails = 0;
  lostSince = null;
  if (state.live !== "live") {
    set({ live: "live" });
    refresh();
  }
}

function onDisconnected() {
  lostSince ??= Date.now();
  set({ live: Date.now() - lostSince > GONE_S * 1000 ? "gone" : "reconnecting" });
}

// What the tab with the stream tells the others.
function inform(message) {
  tabs.postMessage(message);
  take(message);
}

function take({ connected, seq }) {
  if (connected === true) onConnected();
  if (connected === false) onDisconnected();
  if (seq !== undefined) {
    lastSeq = seq;
    refresh();
  }
}

tabs.onmessage = ({ data }) => {
  if (!data.newcomer) return take(data);
  if (reading && state.live === "live") tabs.postMessage({ connected: true });
};

const delay = (ms) => new Promise((done) => setTimeout(done, ms));

// Reads server-sent events by hand: unlike EventSource this accepts any event name and notices a broken connection.
async function listen() {
  for (;;) {
    try {
      await follow();
    } catch {
      // Broken off, refused or not up yet: retry in each case.
    }
    inform({ connected: false });
    await delay(RETRY_MS[Math.min(fails++, RETRY_MS.length - 1)]);
  }
}

async function follow() {
  const after = lastSeq ?? state.run?.seq;
  const response = await fetch(`api/events${after === undefined || after === null ? "" : `?after=${after}`}`, { headers: { Accept: "text/event-stream" } });
  if (!response.ok) throw new Error(String(response.status));
  inform({ connected: true });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    // The number may be lower than before: then it is another run's history.
    const numbers = parts.map((part) => part.match(/^id: (\d+)$/m)).filter(Boolean);
    if (numbers.length) inform({ seq: Number(numbers.at(-1)[1]) });
  }
}

// Progress, activity of the instruments, and lines of an unfinished scan are not recorded, so they are polled.
async function poll() {
  for (;;) {
    if (!document.hidden && state.live !== "gone") {
      try {
        const response = await fetch("api/view/live");
        if (response.ok) await show(visible(await response.json()));
      } catch {
        // The event stream notices the lost connection.
      }
    }
    await delay(POLL_MS);
  }
}

async function show(live) {
  if (state.run && live.run_id && live.run_id !== state.run.run_id) { lastSeq = null; location.reload(); }
  set({ progress: live.progress, activity: live.activity });
  const at = live.partial[state.instrument], shown = state.partial;
  if (!at) return shown && set({ partial: null });
  if (shown?.at === at) return;
  const response = await fetch(`api/view/partial/${encodeURIComponent(state.instrument)}`);
  if (!response.ok) return;
  const bytes = await response.arrayBuffer();
  const length = new DataView(bytes).getUint32(0, true);
  const frame = visible(JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length))));
  frame.channel.values = new Float32Array(bytes, 4 + length);
  set({ partial: { ...frame, at } });
}

export async function startLive() {
  await refresh();
  tabs.postMessage({ newcomer: true });
  const read = () => {
    reading = true;
    return listen();  // never returns: the lock is held until the tab is closed
  };
  // Locks exist on loopback and https only; elsewhere each tab reads a stream of its own.
  if (navigator.locks) navigator.locks.request(LOCK, read);
  else read();
  poll();
}
