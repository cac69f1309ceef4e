// Formatting of numbers, units and times (in the viewer's zone), and creation of DOM elements.

// Control characters, bidi overrides and other characters that are not seen as themselves; a new line stays.
const HIDDEN = /(?!\n)[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/gu;

function escape(character) {
  const code = character.codePointAt(0), hex = code.toString(16);
  return code < 0x100 ? `\\x${hex.padStart(2, "0")}` : code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

// What the agent sent, with such characters shown as escapes: names and reasons come from elsewhere.
export function visible(value) {
  if (typeof value === "string") return value.replace(HIDDEN, escape);
  if (Array.isArray(value)) return value.map(visible);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [visible(name), visible(one)]));
}

export const um = (metres) => (metres * 1e6).toFixed(3);

export function size(metres) {
  return metres >= 1e-6 ? `${+(metres * 1e6).toPrecision(3)} µm` : `${+(metres * 1e9).toPrecision(3)} nm`;
}

export function num(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e5 || size < 1e-3)) return value.toExponential(digits - 1);
  return String(+value.toPrecision(digits));
}

export function clock(time) {
  return new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
}

export function date(time) {
  return new Date(time).toLocaleString([], { dateStyle: "medium", timeStyle: "medium" });
}

export function duration(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return `${Math.floor(s / 3600)} h ${Math.round((s % 3600) / 60)} min`;
}

// Stage of a search, and its remaining time.
export function stage(p) {
  const name = { plain: "plain models", warm: "warm start from the last models" }[p.stage] ?? (/steps$/.test(p.stage) ? `training, ${p.stage}` : p.stage);
  return `${name}${p.total > 1 ? `: ${p.done} of ${p.total}` : ""}`;
}

export function left(p) {
  if (p.most_left_s !== null) return `, at most ${duration(p.most_left_s)} left`;
  if (p.about_left_s !== null) return p.about_left_s > 1 ? `, about ${duration(p.about_left_s)} left` : ", almost done";
  return `, running for ${duration(p.since_s)}`;
}

export const plural = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;
export const percent = (share) => `${Math.round(100 * share)}%`;

// Parameter name of an instrument ("coercive_plus_V") as words with the unit.
export function parameter(name) {
  const found = name.match(/^(.*)_(V|mV|pm|nm|pmV|Hz|kHz|s|deg)$/);
  return found ? `${found[1].replaceAll("_", " ")} (${found[2] === "pmV" ? "pm·V" : found[2]})` : name.replaceAll("_", " ");
}

// Creates an element: el("p", {class: "dim", onclick}, "text", child). Text is never parsed as HTML.
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return element;
}

export const $ = (id) => document.getElementById(id);
