// What a person may do. Each action names who asks, carries the token, and says plainly when it was refused.

import { ask, notice } from "./ask.js";
import { el, plural } from "./format.js";
import { clearEdits, edited, set, state, waiting } from "./store.js";

// The token lives in this tab only: it is taken out of the address at once, and never sent in one.
const TOKEN = "vaestar-token", NAME = "vaestar-name";
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem(TOKEN, given);
  history.replaceState(null, "", location.pathname + location.search);
}

// Token and name, asked for once; null if the person does not give them.
async function who() {
  let token = sessionStorage.getItem(TOKEN), by = sessionStorage.getItem(NAME);
  if (token && by) return { token, by };
  const fields = [];
  if (!by) fields.push({ name: "by", label: "Your name, recorded with what you do", required: true });
  if (!token) fields.push({ name: "token", label: "Token (of the address that vaestar serve printed, or the file control.token)", required: true, secret: true });
  const answer = await ask({ title: "Who is acting?", text: "Reading is free; whoever acts on the instrument is asked once.", fields, ok: "Go on" });
  if (!answer) return null;
  token = answer.token ?? token;
  by = answer.by ?? by;
  sessionStorage.setItem(TOKEN, token);
  sessionStorage.setItem(NAME, by);
  return { token, by };
}

// True if the agent did it.
async function act(path, body, done) {
  const person = await who();
  if (!person) return false;
  let response;
  try {
    response = await fetch(`api/${path}`, {
      method: "POST",
      headers: { "Content-Type": "application/json", Authorization: `Bearer ${person.token}` },
      body: JSON.stringify({ by: person.by, ...body }),
    });
  } catch {
    notice("The agent does not answer; nothing was done. Look at the terminal where vaestar serve runs.", "bad", true);
    return false;
  }
  if (response.ok) {
    notice(done, "good");
    return true;
  }
  const reason = await sentence(response);
  if (response.status === 401 || response.status === 403) {
    sessionStorage.removeItem(TOKEN);
    notice(`The token was refused; nothing was done. ${reason}`, "bad", true);
  } else if (response.status === 409) {
    notice(`Not done: ${reason}.`, "bad", true);
    set({ stale: Date.now() });  // where things stand now is fetched anew
  } else notice(`Not done: ${reason}`, "bad", true);
  return false;
}

async function sentence(response) {
  try {
    const said = await response.json();
    const detail = said.detail ?? said.error ?? said.reason ?? "";
    return typeof detail === "string" ? detail : detail.map((d) => d.msg).join("; ");
  } catch {
    return `(${response.status})`;
  }
}

const where = () => (state.run?.instruments.length > 1 ? state.instrument : "the instrument");

export async function pause() {
  const answer = await ask({ title: `Pause ${where()}?`, text: "It finishes what is under way and begins nothing new.", fields: [{ name: "reason", label: "Why (may be left empty)" }], ok: "Pause" });
  if (answer) await act("pause", { instrument_id: state.instrument, reason: answer.reason }, "Paused.");
}

export async function resume() {
  const answer = await ask({ title: `Let ${where()} go on?`, fields: [{ name: "reason", label: "Why (may be left empty)" }], ok: "Resume" });
  if (answer) await act("resume", { instrument_id: state.instrument, reason: answer.reason }, "Resumed.");
}

// One press is enough, and it stops all instruments: a stop that asks back comes too late, and one too many costs a scan.
export async function emergencyStop() {
  await act("stop", { reason: "emergency stop on the page" }, "Emergency stop: every instrument ends what is under way, and nothing more is measured until a person resumes.");
}

export async function approve() {
  if (!waiting()) return;
  const decision = state.decision.decision_id, { drop, move, problems } = state.edits;
  if (problems.size) return notice("Some places lie where nothing may be measured; move them back or drop them first.", "bad");
  const left = state.places.places.length - drop.size;
  const text = [`${plural(left, "place")} will be measured${drop.size || move.size ? ` (${drop.size} dropped, ${move.size} moved)` : ""}.`];
  const answer = await ask({ title: "Approve these places?", text, fields: [{ name: "reason", label: "Remark (may be left empty)" }], ok: "Approve" });
  if (!answer) return;
  const moved = Object.fromEntries([...move].filter(([id]) => !drop.has(id)));
  if (await act("approve", { decision_id: decision, reason: answer.reason, drop: [...drop], move: moved }, "Approved; the places go to the instrument.")) clearEdits();
}

export async function reject() {
  if (!waiting()) return;
  const decision = state.decision.decision_id;
  const answer = await ask({ title: "Reject all places?", text: "None is measured; the instrument goes on with a new scan.", fields: [{ name: "reason", label: "Why", required: true }], ok: "Reject" });
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

// The server says where nothing may be measured; the page knows no limit by itself.
let due = null;
export function checkEdits() {
  clearTimeout(due);
  due = setTimeout(async () => {
    const id = state.decision?.decision_id;
    if (!id || !edited()) return set({ edits: { ...state.edits, problems: new Map() } });
    const body = { drop: [...state.edits.drop], move: Object.fromEntries(state.edits.move) };
    const response = await fetch(`api/view/decisions/${id}/check?edits=${encodeURIComponent(JSON.stringify(body))}`).catch(() => null);
    if (!response?.ok || id !== state.decision?.decision_id) return;
    const { problems } = await response.json();
    set({ edits: { ...state.edits, problems: new Map(problems.map((p) => [p.request_id, p.sentence])) } });
  }, 80);
}

const KEYS = [
  ["← →", "previous, next place"], ["↑ ↓", "filter by cluster"], ["x", "drop the place, or take it back"], ["Enter", "approve, after a question"],
  ["p", "pause"], ["r", "resume"], ["Shift S", "emergency stop, at once"], ["1 … 5", "loops, candidates, timeline, scans, health"], ["Esc", "show all, close"], ["?", "these keys"],
];

export function showKeys() {
  const rows = KEYS.map(([key, what]) => el("tr", {}, el("td", {}, el("kbd", {}, key)), el("td", {}, what)));
  ask({ title: "Keys", text: [el("table", {}, ...rows), el("p", { class: "dim" }, "While places wait for approval they can be moved on the scan with the mouse or a finger.")], ok: "Close", cancel: null });
}
