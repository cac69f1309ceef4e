// What happens, as it happens: recorded events over one stream that catches up by number, and what is only shown by asking often.

import { refresh } from "./data.js";
import { set, state } from "./store.js";

const GONE_S = 12, LOOK_MS = 400, PAUSES_MS = [300, 700, 1500, 3000];
let seen = null, fails = 0, lost = null;

function heard() {
  fails = 0;
  lost = null;
  if (state.live !== "live") {
    set({ live: "live" });
    refresh();
  }
}

function failed() {
  lost ??= Date.now();
  set({ live: Date.now() - lost > GONE_S * 1000 ? "gone" : "reconnecting" });
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// A stream of server-sent events by hand: unlike EventSource it takes events of any name, and says when it is cut off.
async function listen() {
  for (;;) {
    try {
      await follow();
    } catch {
      // Cut off, refused or not there yet: the same to us.
    }
    failed();
    await pause(PAUSES_MS[Math.min(fails++, PAUSES_MS.length - 1)]);
  }
}

async function follow() {
  const after = seen ?? state.run?.seq;
  const response = await fetch(`api/events${after === undefined || after === null ? "" : `?after=${after}`}`, { headers: { Accept: "text/event-stream" } });
  if (!response.ok) throw new Error(String(response.status));
  heard();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const parts = text.split("\n\n");
    text = parts.pop();
    let news = false;
    for (const part of parts) {
      const number = part.match(/^id: (\d+)$/m);
      if (!number) continue;
      // A history that is shorter than what was seen is another run's: begin anew.
      seen = Number(number[1]);
      news = true;
    }
    if (news) refresh();
  }
}

// Progress, what instruments do, and lines of a frame: shown only, so they are asked for and not recorded.
async function look() {
  for (;;) {
    if (!document.hidden && state.live !== "gone") {
      try {
        const response = await fetch("api/view/live");
        if (response.ok) await show(await response.json());
      } catch {
        // The stream notices by itself.
      }
    }
    await pause(LOOK_MS);
  }
}

async function show(live) {
  if (state.run && live.run_id && live.run_id !== state.run.run_id) { seen = null; location.reload(); }
  set({ progress: live.progress, activity: live.activity });
  const told = live.partial[state.instrument], shown = state.partial;
  if (!told) return shown && set({ partial: null });
  if (shown?.at === told) return;
  const response = await fetch(`api/view/partial/${encodeURIComponent(state.instrument)}`);
  if (!response.ok) return;
  const bytes = await response.arrayBuffer();
  const length = new DataView(bytes).getUint32(0, true);
  const frame = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
  frame.channel.values = new Float32Array(bytes, 4 + length);
  set({ partial: { ...frame, at: told } });
}

export async function startLive() {
  await refresh();
  listen();
  look();
}
