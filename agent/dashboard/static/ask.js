// Questions to the person: one dialog for all of them.

import { $, el } from "./format.js";

const dialog = $("ask");

// Ask; resolves to {name: value} of the fields, or null if the person thinks better of it.
// fields: [{name, label, value, required, secret}]; `danger` colours the button.
export function ask({ title, text = [], fields = [], ok = "OK", danger = false, cancel = "Cancel" }) {
  if (dialog.open) dialog.close();
  const inputs = fields.map((f) => el("input", {
    name: f.name, type: f.secret ? "password" : "text", required: Boolean(f.required), value: f.value ?? "",
    autocomplete: "off", spellcheck: "false", placeholder: f.placeholder,
  }));
  const confirm = el("button", { value: "ok", class: danger ? "danger" : "primary" }, ok);
  $("ask-form").replaceChildren(
    el("h2", {}, title),
    ...[text].flat().map((t) => (typeof t === "string" ? el("p", {}, t) : t)),
    ...fields.map((f, i) => el("label", {}, f.label, inputs[i])),
    el("div", { class: "buttons" }, cancel && el("button", { value: "cancel", formnovalidate: true, type: "submit" }, cancel), confirm),
  );
  return new Promise((resolve) => {
    dialog.onclose = () => resolve(
      dialog.returnValue === "ok" ? Object.fromEntries(inputs.map((i) => [i.name, i.value.trim()])) : null,
    );
    dialog.returnValue = "cancel";
    // Enter in a field must not press the first button, which is "Cancel".
    $("ask-form").onkeydown = (event) => {
      if (event.key === "Enter" && event.target.tagName === "INPUT") { event.preventDefault(); confirm.click(); }
    };
    dialog.showModal();
    (inputs.find((i) => !i.value) ?? confirm).focus();
  });
}

export const asking = () => dialog.open;

export function tell(title, text) {
  return ask({ title, text, ok: "Close", cancel: null });
}

// A line under the header; it goes away by itself unless it must be read.
let timer = null;
export function notice(text, tone = "bad", stay = false) {
  const line = $("notice");
  line.textContent = text;
  line.className = tone;
  line.hidden = !text;
  clearTimeout(timer);
  if (text && !stay) timer = setTimeout(() => { line.hidden = true; }, 9000);
}
