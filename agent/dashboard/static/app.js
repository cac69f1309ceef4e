// Entry point: draws the header and the empty page, and starts all panels.

import { emergencyStop, pause, resume, showKeys } from "./actions.js";
import { notice } from "./ask.js";
import { startData } from "./data.js";
import { $, el, left, stage } from "./format.js";
import { startKeys } from "./keys.js";
import { startLatent } from "./latent.js";
import { startLens } from "./lens.js";
import { startLive } from "./live.js";
import { startScan } from "./scan.js";
import { startSide } from "./side.js";
import { instrument, on, set, state, unreachable } from "./store.js";
import { startTabs } from "./tabs.js";

function drawInstruments() {
  $("instruments").replaceChildren(...(state.run?.instruments ?? []).map((i) => el(
    "button", { role: "tab", "aria-selected": String(i.instrument_id === state.instrument), title: i.model, onclick: () => choose(i.instrument_id) }, i.instrument_id,
  )));
}

function choose(id) {
  if (id !== state.instrument) set({ instrument: id, pinned: null, scan: null, partial: null, decision: null, places: null, loops: null, cluster: null });
}

// State of the instrument in a word or two, and its tone.
function instrumentState() {
  const i = instrument();
  if (!i) return ["no instrument yet", ""];
  if (i.state === "stopped") return ["emergency stop", "bad"];
  if (i.state === "paused") return ["paused", "warn"];
  if (!i.connected) return ["not connected", "bad"];
  if (state.places?.open) return ["waiting for your approval", "warn"];
  if (state.progress[i.instrument_id]) return ["searching", "busy"];
  const doing = (state.activity[i.instrument_id] ?? "connected").split(":")[0];
  if (state.partial || doing === "scanning") return ["scanning", "busy"];
  if (doing === "measuring" || (state.places?.state === "measuring" && !state.pinned)) return ["measuring", "busy"];
  return [doing === "waiting" ? "idle" : doing, "good"];
}

function drawState() {
  const [text, tone] = instrumentState(), i = instrument();
  $("state").textContent = text;
  $("state").className = `pill ${tone}`;
  $("state").title = i?.state_reason ?? "";
  $("resume").hidden = !i || i.state === "running";
  $("pause").hidden = Boolean(i) && i.state !== "running";
  $("pause").disabled = !i || state.live === "gone";
  document.title = `${state.places?.open ? "● " : ""}${text} · vaestar`;
}

function drawProgress() {
  const p = state.progress[state.instrument];
  $("progress").hidden = !p;
  if (!p) return;
  $("progress-text").textContent = `${stage(p)}${left(p)}`;
  $("progress-bar").style.width = `${Math.round(100 * p.share)}%`;
}

const CONNECTION = { connecting: ["connecting", "warn"], live: ["live", "good"], reconnecting: ["reconnecting", "warn"], gone: ["agent not responding", "bad"] };

function drawLive() {
  const [text, tone] = CONNECTION[state.live];
  $("live").textContent = text;
  $("live").className = `pill quiet ${tone}`;
  document.body.classList.toggle("gone", state.live === "gone");
  $("stop").textContent = unreachable() ? "No agent: stop by hand" : "Emergency stop";
  $("stop").className = unreachable() ? "danger unreachable" : "danger";
  if (state.live === "gone") notice("The agent no longer responds: NO BUTTON OF THIS PAGE STOPS ANYTHING NOW. If there is danger, stop the instrument itself. The page shows the last known state; look at the terminal where vaestar serve runs.", "bad", true);
  else if (state.live === "live" && $("notice").textContent.startsWith("The agent no longer responds")) notice("");
}

function drawEmpty() {
  const i = instrument(), nothing = !state.scan && !state.partial && !(i?.scans.length);
  document.body.classList.toggle("empty", nothing);
  document.body.classList.toggle("undecided", !state.decision?.clusters.length);
  $("empty").hidden = !nothing;
  if (!nothing) return;
  const address = state.run?.listens_at || "tcp://127.0.0.1:5555";
  $("empty-title").textContent = i ? `Waiting for the first scan of ${i.instrument_id}` : "Waiting for an instrument";
  $("empty-text").textContent = i ? "It is connected. Its first scan appears here when it is recorded." : "The agent is listening. Connect a microscope, recorded data, or the simulated microscope:";
  $("empty-command").hidden = Boolean(i);
  $("empty-command").textContent = `vaestar simulate --connect ${address}`;
}

function theme(dark) {
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  set({ theme: dark });
}

function startTheme() {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = localStorage.getItem("vaestar-theme");
  theme(chosen ? chosen === "dark" : system.matches);
  system.addEventListener("change", (event) => { if (!localStorage.getItem("vaestar-theme")) theme(event.matches); });
  $("theme").addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme !== "dark";
    localStorage.setItem("vaestar-theme", dark ? "dark" : "light");
    theme(dark);
  });
}

startTheme();
drawState();
startScan();
startLatent();
startLens();
startSide();
startTabs();
startKeys();
startData();
on("run instrument", drawInstruments);
on("run places progress activity partial live instrument scan", drawState);
on("progress instrument", drawProgress);
on("live", drawLive);
on("run scan partial instrument decision", drawEmpty);
$("pause").addEventListener("click", pause);
$("resume").addEventListener("click", resume);
$("stop").addEventListener("click", emergencyStop);
$("keys").addEventListener("click", showKeys);
drawLive();
startLive();
