"""A decision told in full: what was seen and tried, the rule step by step with its numbers, what it rests on and led to."""

import math
from collections.abc import Iterator

from agent.errors import AgentError
from agent.history.event_log import Event, History
from agent.history.lookup import only
from agent.history.readers import trusted
from agent.provenance.narrative import Narrative, Section, at, counted, happened, length, number, place
from agent.provenance.recorded_inputs import question_behind
from agent.reporting.export.rows import measurements_of
from agent.schema import event_kinds as kinds
from agent.schema.decision import CandidateRecord, ConfigurationRecord, DecisionRecord
from agent.schema.model_kinds import GEOMETRIC_LATENTS, label
from agent.schema.wording import OUTCOMES, POLICIES
from instrument_adapters.protocol.messages import MeasurementRequest

_OWN = (kinds.CANDIDATES_SCORED, kinds.DECISION_MADE, kinds.RESULT_RECEIVED)


def decision_account(history: History, event: Event) -> Narrative:
    """The account of a "decision_made" or "decision_deepened" event."""
    with trusted(event):
        record = DecisionRecord.model_validate(event.body["decision"])
        instrument_id = event.body["instrument_id"]
        sections = (
            Section("In short", (f"Outcome: {OUTCOMES[record.outcome]}.", record.explanation)),
            Section("What was seen", tuple(_seen(record, instrument_id))),
            Section("What it rests on", tuple(_rests_on(history, event, record))),
            Section("What was tried", tuple(_tried(record)), tuple(_configurations(record))),
            Section("What was left out", (), tuple(_left_out(record))),
            Section("How the choice was made", tuple(_steps(record))),
            Section("What was recommended", tuple(_recommended(record)), tuple(_clusters(record))),
            Section("Who had a say, and when", tuple(_followed(history, event, record))),
            Section("What became of each place", (), tuple(_places(history, event))),
            Section("How to check this", tuple(_checks(record))),
        )
    what = "Decision" if event.kind == kinds.DECISION_MADE else "Deeper search"
    title = f"{what} {record.decision_id} on {record.scan_id} of {instrument_id} (sample {record.sample_id})"
    return Narrative("decision", record.decision_id, title, sections, {"event": event.seq, "decision": event.body["decision"]})


def _seen(record: DecisionRecord, instrument_id: str) -> Iterator[str]:
    f = record.frame
    size = f"{f.rows} x {f.cols} pixels over {length(f.size_slow_m)} x {length(f.size_fast_m)}"
    unit = f" ({record.unit})" if record.unit else ""
    yield f"{instrument_id} recorded {size}, centred at {place(f.x_offset_m, f.y_offset_m)}"
    yield f"Channel {record.channel or '-'}{unit}"
    for problem in record.quality.problems:
        yield f"Quality: {problem.sentence} (what was done: {problem.action})"
    if not record.quality.problems:
        yield (
            "Quality: nothing was found to be wrong with the scan" if record.quality.content else "Quality: it was not inspected"
        )
    for what, rows in record.masked.items():
        yield f"{rows} lines were left out: {what}"
    drift = record.drift
    if drift.nm_per_min is not None:
        alike = f"; this scan and the last one agree to {number(drift.agreement)} (correlation)"
        yield f"Drift: {drift.nm_per_min:.2f} nm/min, from {counted(len(drift.knots), 'scan')}{alike}; places were moved ahead"
    elif drift.why_none:
        yield f"Drift: not known ({drift.why_none})"
    if record.keypoints_found:
        dropped = ", ".join(f"{n} {why}" for why, n in record.keypoints_dropped.items() if n)
        yield f"Key points: {record.keypoints_found} found, {record.keypoints_used} used" + (
            f" (dropped: {dropped})" if dropped else ""
        )


def _rests_on(history: History, event: Event, record: DecisionRecord) -> Iterator[str]:
    try:
        question = question_behind(history, event)
    except AgentError as error:
        yield f"It cannot be put together any more: {error}"
        return
    rests, limits = question.rests_on, question.limits
    how = "" if question.noted else " (worked out; the version that decided did not note it)"
    yield f"The scan: event {rests['scan']}. Known were all events up to {question.asked.after}{how}"
    since = f", told in event {rests['instrument connected']}" if "instrument connected" in rests else ", by default"
    ranges = f"x {_range(limits.x_min_m, limits.x_max_m)}, y {_range(limits.y_min_m, limits.y_max_m)}"
    yield f"Limits{since}: {ranges}, {length(limits.spacing_min_m)} apart, at most {counted(limits.points_max, 'place')} a scan"
    left_out = ", ".join(f"{n} {why.replace('_', ' ')}" for why, n in record.results_left_out.items())
    used = f"{counted(record.results_used, 'result')} could be held against the candidates" + (
        f" (not: {left_out})" if left_out else ""
    )
    yield f"Measured before: {counted(len(question.measured_xy), 'place')}; {used}"
    if question.previous is not None:
        taken = (
            "its weights were gone on from"
            if record.warm_from
            else f"training began anew: {record.cold_because or 'nothing was trained'}"
        )
        yield f"Earlier decision: {question.previous.record.decision_id} (event {rests['earlier decision']}); {taken}"
    elif record.cold_because:
        yield f"Earlier decision: none ({record.cold_because})"
    if question.earlier is not None:
        yield f"Earlier scan: {question.earlier.scan_id} (event {rests['earlier scan']}), for drift"
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    yield f"Seed {record.config.get('seed')}; {versions}" + (f"; on {question.asked.machine}" if question.asked.machine else "")


def _range(low_m: float, high_m: float) -> str:
    return f"{length(low_m)} to {length(high_m)}"


def _tried(record: DecisionRecord) -> Iterator[str]:
    if not record.candidates:
        return
    out = sum(1 for c in record.candidates if c.guarded_out)
    trained = sum(1 for c in record.candidates if c.invariance in GEOMETRIC_LATENTS)
    yield f"{counted(len(record.candidates), 'candidate')}, {trained} of them trained networks; {out} were left out"
    yield f"Stages complete: {', '.join(record.rungs) or 'none'}" + (
        "; a deadline ended the search there" if record.ended_early else ""
    )
    yield f"Each was judged on {counted(record.common_points, 'point')} of its own, by the reward '{record.config.get('reward')}'"
    for fault in record.faults:
        yield f"Did not work: {fault}"
    for v in record.verified:
        yield f"{v.configuration} with the exact decoder: ELBO {number(v.exact_elbo_per_px, 4)} for {number(v.elbo_per_px, 4)}"


def _configurations(record: DecisionRecord) -> Iterator[tuple[str, ...]]:
    yield ("configuration", "reward", "spread", "seeds", "types", "σ below best", "information", "types shown", "ties")
    for c in record.configurations:
        yield (
            f"{label(c.invariance, c.variant)}, {c.window_px} px",
            number(c.mean),
            number(c.std),
            str(c.seeds),
            str(c.types),
            number(c.sigmas_below_best, 1),
            number(c.information),
            "yes" if c.resolves else "no",
            "yes" if c.in_tie_set else "no",
        )


def _left_out(record: DecisionRecord) -> Iterator[tuple[str, str]]:
    yield ("candidate", "why")
    for c in record.candidates:
        if c.guarded_out:
            yield (c.candidate_id, c.guarded_out)


def _steps(record: DecisionRecord) -> Iterator[str]:
    """The rule of docs/decisions/0014, with the numbers of this decision."""
    rule = record.config.get("rule", {})
    if not record.configurations:
        return
    kept = [c for c in record.candidates if not c.guarded_out]
    yield f"1. Guards: {len(record.candidates) - len(kept)} of {len(record.candidates)} candidates may not be chosen"
    if rule.get("criteria"):
        named = ", ".join(f"{name} ({weight:g})" for name, weight in rule["criteria"].items())
        yield f"2. Score: {rule.get('combine', '').replace('_', ' ')} of {named}, averaged over the seeds of each configuration"
    else:
        yield "2. Score: the reward, averaged over the seeds of each configuration"
    weight = record.evidence_weight
    if weight:
        yield f"3. Results: {record.results_used} of them weighed {weight:.0%}, the score {1 - weight:.0%}"
    else:
        yield "3. Results: they weighed nothing" + (
            f" ({record.results_used} are too few)" if record.results_used else " (there were none)"
        )
    resolving = [c for c in record.configurations if c.resolves]
    least = rule.get("least_information", 0.0)
    groups = ", and are groups and no continuum" if rule.get("groups") else ""
    yield f"4. Types: {len(resolving)} of {len(record.configurations)} configurations show some (at least {least:g} nats{groups})"
    yield from _choice(record, float(rule.get("tie_sigmas", 2.0)), str(rule.get("pick", "parsimonious")))


def _choice(record: DecisionRecord, sigmas: float, pick: str) -> Iterator[str]:
    tied = [c for c in record.configurations if c.in_tie_set]
    best = min(record.configurations, key=lambda c: (c.sigmas_below_best != 0.0, -c.mean))
    yield f"5. Best: {_name(best)} with {best.mean:.3f}; {len(tied)} within {sigmas:g} σ of it count as equal"
    chosen = next((c for c in record.candidates if c.candidate_id == record.chosen), None)
    if chosen is None:
        yield "6. Choice: none"
        return
    configuration = only(c for c in record.configurations if chosen.candidate_id.startswith(f"{c.name}-s"))
    why = (
        "the largest value"
        if pick == "best"
        else "the plainest of these: untrained before trained, then fewest types, latents, smallest window"
    )
    yield f"6. Choice: {_name(configuration)}, {why}"
    yield f"7. Of its {counted(configuration.seeds, 'seed')}: {chosen.candidate_id}, {_seed_reason(chosen)}"


def _seed_reason(chosen: CandidateRecord) -> str:
    if chosen.elbo_per_px is not None and chosen.invariance in GEOMETRIC_LATENTS:
        return f"whose held-out ELBO is the best ({chosen.elbo_per_px:.4f} nats a pixel)"
    return f"whose reward is the largest ({number(chosen.value)})"


def _name(c: ConfigurationRecord) -> str:
    return f"{label(c.invariance, c.variant)} with a window of {c.window_px} px"


def _recommended(record: DecisionRecord) -> Iterator[str]:
    if not record.requests:
        yield "Nothing"
        return
    settings = record.config.get("recommend", {})
    policy = settings.get("policy", "ivr")
    yield f"{counted(len(record.requests), 'place')}, in this order: {POLICIES.get(policy, policy)}"
    spacing, margin = length(settings.get("spacing_m")), length(settings.get("margin_m"))
    yield f"Kept apart by at least {spacing}, and {margin} from the border of the frame"


def _clusters(record: DecisionRecord) -> Iterator[tuple[str, ...]]:
    yield ("type", "share", "points", "typical ones", "places")
    total = max(sum(c.points for c in record.clusters), 1)
    for c in record.clusters:
        places = sum(r.cluster == c.cluster for r in record.requests)
        yield (str(c.cluster), f"{c.points / total:.0%}", str(c.points), str(c.core_points), str(places))


def _followed(history: History, event: Event, record: DecisionRecord) -> Iterator[str]:
    """Approvals, sending, commands: whatever names this decision, also of kinds that are not known here."""
    for e in history.events(mentioning=record.decision_id):
        about = record.decision_id in (e.subject, e.body.get("decision_id"), e.body.get("of"))
        if (
            about
            and e.kind not in _OWN
            and e.body.get("instrument_id", event.body["instrument_id"]) == event.body["instrument_id"]
        ):
            yield happened(e)


def _places(history: History, event: Event) -> Iterator[tuple[str, ...]]:
    if event.kind != kinds.DECISION_MADE:
        return
    yield ("request", "type, rank", "asked for", "came of it", "off by", "when")
    for m in measurements_of(history, event):
        r = MeasurementRequest.model_validate(m.request)
        row = (r.request_id, f"{r.cluster}, {r.rank}", place(r.x_m, r.y_m))
        if m.result is None:
            yield (*row, m.fate or "no result", "-", "-")
            continue
        body = m.result.body
        came = " ".join(
            part for part in (body["status"], body["reason"] and f"({body['reason']})", m.fate and f"({m.fate})") if part
        )
        there = body.get("x_m") is not None and body.get("y_m") is not None
        off = length(math.hypot(body["x_m"] - r.x_m, body["y_m"] - r.y_m)) if there else "-"
        yield (*row, came, off, str(body.get("measured_at") or at(m.result.recorded_at)))


def _checks(record: DecisionRecord) -> Iterator[str]:
    yield f"`vaestar history replay {record.decision_id}` makes the decision again and compares every number"
    yield "`vaestar history verify` says whether anything was altered since"
