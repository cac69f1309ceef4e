// Actions of the operator. Each carries the operator's name and the token; a refusal is shown with its reason.

import { ask, notice } from "./ask.js";
import { el, plural, visible } from "./format.js";
import { clearEdits, edited, set, state, unreachable, waiting } from "./store.js";

// The token is kept in this tab only: it is removed from the address at once, and never sent as part of one.
const TOKEN = "vaestar-token", NAME = "vaestar-name";
const BY_HAND = "STOP THE INSTRUMENT ITSELF: its own stop, or the emergency-off of the rack. Then try vaestar stop on the agent's computer.";
const ANSWER_MS = 2000;  // an action without an answer for so long says so
const fromAddress = new URLSearchParams(location.hash.slice(1)).get("token");
if (fromAddress) {
  sessionStorage.setItem(TOKEN, fromAddress);
  history.replaceState(null, "", location.pathname + location.search);
}

// Token and name, asked for once; null if the operator cancels.
async function credentials() {
  let token = sessionStorage.getItem(TOKEN), by = sessionStorage.getItem(NAME);
  if (token && by) return { token, by };
  const fields = [];
  if (!by) fields.push({ name: "by", label: "Your name, recorded with each action", required: true });
  if (!token) fields.push({ name: "token", label: "Token (from the address printed by vaestar serve, or from control.token in the run directory)", required: true, secret: true });
  const answer = await ask({ title: "Who are you?", text: "Watching needs no token; controlling the instrument does. You are asked once.", fields, ok: "Continue" });
  if (!answer) return null;
  token = answer.token ?? token;
  by = answer.by ?? by;
  sessionStorage.setItem(TOKEN, token);
  sessionStorage.setItem(NAME, by);
  return { token, by };
}

// Send an action; true if the agent carried it out. `success` is a sentence, or a function of the agent's answer that returns one.
async function act(path, body, success, tone = "good") {
  const operator = await credentials();
  if (!operator) return false;
  let response;
  const unknown = `it is not known whether "${path}" is carried out. ${path === "stop" ? "Stop the instrument by hand, or run vaestar stop." : "Wait, or look at the terminal where vaestar serve runs."}`;
  const late = setTimeout(() => notice(`NO ANSWER from the agent for 2 s: ${unknown}`, "bad", true), ANSWER_MS);
  try {
    response = await fetch(`api/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${operator.token}` },
      body: JSON.stringify({ by: operator.by, ...body }),
    });
  } catch {
    // If the agent was there a moment ago, it may have read the request.
    if (path === "stop" && unreachable()) notice(`NOTHING WAS STOPPED: the agent does not answer. ${BY_HAND}`, "bad", true);
    else notice(`NO ANSWER from the agent, the connection broke: ${unknown}`, "bad", true);
    return false;
  } finally {
    clearTimeout(late);
  }
  if (response.ok) {
    notice(typeof success === "string" ? success : success(await response.json()), tone, tone === "bad");
    return true;
  }
  const reason = await errorText(response);
  if (response.status === 401 || response.status === 403) {
    sessionStorage.removeItem(TOKEN);
    notice(`The token was refused; nothing was done. ${reason}`, "bad", true);
  } else if (response.status === 409) {
    notice(`Not done: ${reason}.`, "bad", true);
    set({ stale: Date.now() });  // fetch the present state
  } else if (response.status === 500) {
    notice(`The agent answered with a fault: ${unknown}`, "bad", true);
  } else notice(`Not done: ${reason}`, "bad", true);
  return false;
}

async function errorText(response) {
  try {
    const body = visible(await response.json());
    const detail = body.detail ?? body.error ?? body.reason ?? "";
    return typeof detail === "string" ? detail : detail.map((d) => d.msg).join("; ");
  } catch {
    return `(${response.status})`;
  }
}

const target = () => (state.run?.instruments.length > 1 ? state.instrument : "the instrument");

export async function pause() {
  const answer = await ask({ title: `Pause ${target()}?`, text: "It finishes the measurement under way and begins nothing new.", fields: [{ name: "reason", label: "Reason (optional)" }], ok: "Pause" });
  if (answer) await act("pause", { instrument_id: state.instrument, reason: answer.reason }, "Paused.");
}

export async function resume() {
  const answer = await ask({ title: `Resume ${target()}?`, fields: [{ name: "reason", label: "Reason (optional)" }], ok: "Resume" });
  if (answer) await act("resume", { instrument_id: state.instrument, reason: answer.reason }, "Resumed.");
}

// One press stops all instruments, without confirmation: a needless stop costs a scan, a late one a tip.
export async function emergencyStop() {
  // Before any question for a name: an operator must not type while the tip moves and nobody listens.
  if (unreachable()) notice(`THIS BUTTON STOPS NOTHING NOW: the agent does not answer. ${BY_HAND}`, "bad", true);
  if (unreachable() && !(sessionStorage.getItem(TOKEN) && sessionStorage.getItem(NAME))) return;
  await act("stop", { reason: "emergency stop on the dashboard" }, stopped, "bad");
}

function stopped({ status }) {
  const away = Object.entries(status.instruments).filter(([, i]) => !i.connected && !i.left).map(([name]) => name);
  const missed = away.length ? ` NOT CONNECTED, so not stopped by this: ${away.join(", ")}. ${BY_HAND}` : "";
  return `Emergency stop: every instrument ends its measurement at once; nothing is measured until an operator resumes.${missed}`;
}

export async function approve() {
  if (!waiting()) return;
  const decision = state.decision.decision_id, { drop, move, problems } = state.edits;
  if (problems.size) return notice("Some points may not be measured where they are; move them back or drop them first.", "bad");
  const left = state.places.places.length - drop.size;
  const text = [`${plural(left, "point")} will be measured${drop.size || move.size ? ` (${drop.size} dropped, ${move.size} moved)` : ""}.`];
  const answer = await ask({ title: "Approve these points?", text, fields: [{ name: "reason", label: "Remark (optional)" }], ok: "Approve" });
  if (!answer) return;
  const moved = Object.fromEntries([...move].filter(([id]) => !drop.has(id)));
  if (await act("approve", { decision_id: decision, reason: answer.reason, drop: [...drop], move: moved }, "Approved; the points are sent to the instrument.")) clearEdits();
}

export async function reject() {
  if (!waiting()) return;
  const decision = state.decision.decision_id;
  const answer = await ask({ title: "Reject all points?", text: "None is measured; the instrument continues with a new scan.", fields: [{ name: "reason", label: "Reason", required: true }], ok: "Reject" });
  if (answer && await act("reject", { decision_id: decision, reason: answer.reason }, "Rejected; nothing is measured on this scan.")) clearEdits();
}

export function toggleDrop(id) {
  if (!waiting()) return;
  const { drop } = state.edits;
  drop.has(id) ? drop.delete(id) : drop.add(id);
  set({ edits: state.edits });
  checkEdits();
}

export function undoMove(id) {
  state.edits.move.delete(id);
  set({ edits: state.edits });
  checkEdits();
}

// The server checks the edits; the page knows no limits.
let timer = null;
export function checkEdits() {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    const id = state.decision?.decision_id;
    if (!id || !edited()) return set({ edits: { ...state.edits, problems: new Map() } });
    const body = { drop: [...state.edits.drop], move: Object.fromEntries(state.edits.move) };
    const response = await fetch(`api/view/decisions/${id}/check?edits=${encodeURIComponent(JSON.stringify(body))}`).catch(() => null);
    if (!response?.ok || id !== state.decision?.decision_id) return;
    const { problems } = visible(await response.json());
    set({ edits: { ...state.edits, problems: new Map(problems.map((p) => [p.request_id, p.sentence])) } });
  }, 80);
}

const KEYS = [
  ["← →", "previous, next point"], ["↑ ↓", "filter by cluster"], ["x", "drop the point, or restore it"], ["Enter", "approve (asks for confirmation)"],
  ["p", "pause"], ["r", "resume"], ["Shift S", "emergency stop, immediately"], ["1 … 5", "loops, candidates, timeline, scans, health"], ["Esc", "show all, close"], ["?", "this list"],
];

export function showKeys() {
  const rows = KEYS.map(([key, what]) => el("tr", {}, el("td", {}, el("kbd", {}, key)), el("td", {}, what)));
  ask({ title: "Keys", text: [el("table", {}, ...rows), el("p", { class: "dim" }, "While points wait for approval, they can be moved on the scan by mouse or touch.")], ok: "Close", cancel: null });
}
