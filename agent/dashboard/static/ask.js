// One dialog for all questions to the operator, and the notice line.

import { $, el } from "./format.js";

const dialog = $("ask");

// Show the dialog; resolves to {name: value} of the fields, or null if cancelled.
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

// Show a line under the header; it disappears after some seconds unless `stay`.
let timer = null;
export function notice(text, tone = "bad", stay = false) {
  const line = $("notice");
  line.textContent = text;
  line.className = tone;
  line.hidden = !text;
  clearTimeout(timer);
  if (text && !stay) timer = setTimeout(() => { line.hidden = true; }, 9000);
}
