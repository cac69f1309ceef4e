// Facts about the agent, the instrument and its limits.

import { date, duration, el, num, um } from "./format.js";
import { instrument, state } from "./store.js";

export function drawHealth(box) {
  const i = instrument(), run = state.run, status = state.status ?? {};
  const facts = [["run", run?.run_id], ["run directory", run?.directory], ["agent started", run?.started_at && date(run.started_at)], ["events recorded", run?.seq], ["connection of this page", state.live]];
  if (status.uptime_s !== undefined) facts.push(["agent uptime", duration(status.uptime_s)]);
  if (i) {
    const l = i.limits;
    facts.push(
      ["instrument", `${i.instrument_id}, ${i.model}`], ["software", i.software], ["connected", i.connected ? "yes" : "no"], ["state", `${i.state}${i.state_reason ? `: ${i.state_reason}` : ""}`],
      ["doing", state.activity[i.instrument_id] ?? "not reported"],
      ["stage range x", `${um(l.x_min_m)} to ${um(l.x_max_m)} µm`], ["stage range y", `${um(l.y_min_m)} to ${um(l.y_max_m)} µm`], ["maximum bias", `${num(l.bias_max_V)} V`],
      ["minimum spacing", `${num(l.spacing_min_m * 1e9)} nm`], ["maximum points per scan", l.points_max], ["dose limit", `${l.dose_max} points within ${num(l.dose_radius_m * 1e9)} nm`], ["scan valid for", duration(l.scan_age_max_s)],
    );
  }
  for (const [name, version] of Object.entries(run?.versions ?? {})) facts.push([name, version]);
  box.replaceChildren(el("div", { class: "facts" }, ...facts.filter(([, v]) => v !== undefined && v !== null && v !== "").map(([k, v]) => el("div", {}, el("span", {}, k), el("span", {}, String(v))))));
}
