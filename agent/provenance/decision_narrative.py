"""Full account of a decision: scan, inputs, candidates, the decision rule step by step with its numbers, and what followed."""

import math
from collections.abc import Iterator

from agent.errors import AgentError
from agent.history.event_log import Event, History
from agent.history.lookup import first_found
from agent.history.readers import reading_event
from agent.provenance.narrative import Narrative, NarrativeSection, counted, event_sentence, length, number, place, timestamp
from agent.provenance.recorded_inputs import recorded_inputs
from agent.reporting.export.rows import measurements_of
from agent.schema import event_kinds as kinds
from agent.schema.decision import CandidateRecord, ConfigurationRecord, DecisionRecord
from agent.schema.model_kinds import GEOMETRIC_LATENTS, label
from agent.schema.wording import OUTCOMES, POLICIES, analysed_sentence
from instrument_adapters.protocol.messages import MeasurementRequest

_SHOWN_ELSEWHERE = (kinds.CANDIDATES_SCORED, kinds.DECISION_MADE, kinds.RESULT_RECEIVED)


def decision_narrative(history: History, event: Event) -> Narrative:
    """Narrative of a "decision_made" or "decision_deepened" event."""
    with reading_event(event):
        record = DecisionRecord.model_validate(event.body["decision"])
        instrument_id = event.body["instrument_id"]
        sections = (
            NarrativeSection("In short", (f"Outcome: {OUTCOMES[record.outcome]}.", record.explanation)),
            NarrativeSection("The scan", tuple(_scan_lines(record, instrument_id))),
            NarrativeSection("Inputs", tuple(_input_lines(history, event, record))),
            NarrativeSection("Candidates", tuple(_candidate_lines(record)), tuple(_configuration_rows(record))),
            NarrativeSection("Rejected candidates", (), tuple(_rejected_rows(record))),
            NarrativeSection("Decision rule", tuple(_rule_steps(record))),
            NarrativeSection("Recommendation", tuple(_recommendation_lines(record)), tuple(_cluster_rows(record))),
            NarrativeSection("Approval, sending and commands", tuple(_later_events(history, event, record))),
            NarrativeSection("Results", (), tuple(_result_rows(history, event))),
            NarrativeSection("How to check this", tuple(_check_lines(record))),
        )
    what = "Decision" if event.kind == kinds.DECISION_MADE else "Deeper search"
    title = f"{what} {record.decision_id} on {record.scan_id} of {instrument_id} (sample {record.sample_id})"
    return Narrative("decision", record.decision_id, title, sections, {"event": event.seq, "decision": event.body["decision"]})


def _scan_lines(record: DecisionRecord, instrument_id: str) -> Iterator[str]:
    f = record.frame
    size = f"{f.rows} x {f.cols} pixels over {length(f.size_slow_m)} x {length(f.size_fast_m)}"
    unit = f" ({record.unit})" if record.unit else ""
    yield f"{instrument_id} recorded {size}, centred at {place(f.x_offset_m, f.y_offset_m)}"
    yield f"Channel {record.channel or '-'}{unit}"
    for problem in record.quality.problems:
        yield f"Quality: {problem.sentence} (action: {problem.action})"
    if not record.quality.problems:
        yield ("Quality: no problems found" if record.quality.content else "Quality: not inspected")
    if analysed := analysed_sentence(record.analysed, f):
        yield analysed.rstrip(".")
    for what, count in record.masked.items():
        yield f"Masked: {count} {what}"
    drift = record.drift
    if drift.nm_per_min is not None:
        scans = counted(len(drift.knots), "scan")
        agreement = f"correlation with the previous scan {number(drift.agreement)}"
        yield f"Drift: {drift.nm_per_min:.2f} nm/min, from {scans}; {agreement}; targets were shifted ahead"
    elif drift.why_none:
        yield f"Drift: unknown ({drift.why_none})"
    if record.keypoints_found:
        dropped = ", ".join(f"{n} {why}" for why, n in record.keypoints_dropped.items() if n)
        yield f"Key points: {record.keypoints_found} found, {record.keypoints_used} used" + (
            f" (dropped: {dropped})" if dropped else ""
        )


def _input_lines(history: History, event: Event, record: DecisionRecord) -> Iterator[str]:
    try:
        recorded = recorded_inputs(history, event)
    except AgentError as error:
        yield f"The inputs cannot be reconstructed: {error}"
        return
    sources, limits = recorded.source_events, recorded.inputs.limits
    derived = "" if recorded.basis_recorded else " (derived from the events; this version did not record it)"
    yield f"The scan: event {sources['scan']}. Events taken into account: up to {recorded.basis.after}{derived}"
    since = f" (from event {sources['instrument connected']})" if "instrument connected" in sources else " (default)"
    ranges = f"x {_range(limits.x_min_m, limits.x_max_m)}, y {_range(limits.y_min_m, limits.y_max_m)}"
    spacing, points = length(limits.spacing_min_m), counted(limits.points_max, "point")
    yield f"Limits{since}: {ranges}, spacing at least {spacing}, at most {points} a scan"
    left_out = ", ".join(f"{n} {why.replace('_', ' ')}" for why, n in record.results_left_out.items())
    used = f"{counted(record.results_used, 'result')} used as evidence" + (f" (not used: {left_out})" if left_out else "")
    yield f"Measured before: {counted(len(recorded.inputs.measured_xy), 'point')}; {used}"
    if recorded.inputs.previous is not None:
        start = (
            "warm start from its weights" if record.warm_from else f"cold start: {record.cold_because or 'nothing was trained'}"
        )
        yield f"Earlier decision: {recorded.inputs.previous.record.decision_id} (event {sources['earlier decision']}); {start}"
    elif record.cold_because:
        yield f"Earlier decision: none ({record.cold_because})"
    if recorded.inputs.earlier is not None:
        yield f"Earlier scan: {recorded.inputs.earlier.scan_id} (event {sources['earlier scan']}), used for the drift"
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    yield f"Seed {record.config.get('seed')}; {versions}" + (f"; on {recorded.basis.machine}" if recorded.basis.machine else "")


def _range(low_m: float, high_m: float) -> str:
    return f"{length(low_m)} to {length(high_m)}"


def _candidate_lines(record: DecisionRecord) -> Iterator[str]:
    if not record.candidates:
        return
    rejected = sum(1 for c in record.candidates if c.guarded_out)
    trained = sum(1 for c in record.candidates if c.invariance in GEOMETRIC_LATENTS)
    yield f"{counted(len(record.candidates), 'candidate')}, {trained} of them VAEs; {rejected} were rejected"
    yield f"Rungs complete: {', '.join(record.rungs) or 'none'}" + (
        "; a deadline ended the search there" if record.ended_early else ""
    )
    yield f"Each was scored on {counted(record.common_points, 'point')} by the reward '{record.config.get('reward')}'"
    for fault in record.faults:
        yield f"Failed: {fault}"
    for v in record.verified:
        exact, warp = number(v.exact_elbo_per_px, 4), number(v.elbo_per_px, 4)
        yield f"{v.configuration} with the exact decoder: ELBO {exact} instead of {warp}"


def _configuration_rows(record: DecisionRecord) -> Iterator[tuple[str, ...]]:
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


def _rejected_rows(record: DecisionRecord) -> Iterator[tuple[str, str]]:
    yield ("candidate", "reason")
    for c in record.candidates:
        if c.guarded_out:
            yield (c.candidate_id, c.guarded_out)


def _rule_steps(record: DecisionRecord) -> Iterator[str]:
    """The decision rule of docs/decisions/0014 with the numbers of this decision."""
    rule = record.config.get("rule", {})
    if not record.configurations:
        return
    kept = [c for c in record.candidates if not c.guarded_out]
    yield f"1. Guards: {len(record.candidates) - len(kept)} of {len(record.candidates)} candidates were rejected"
    if rule.get("criteria"):
        named = ", ".join(f"{name} ({weight:g})" for name, weight in rule["criteria"].items())
        yield f"2. Score: {rule.get('combine', '').replace('_', ' ')} of {named}, averaged over the seeds of each configuration"
    else:
        yield "2. Score: the reward, averaged over the seeds of each configuration"
    weight = record.evidence_weight
    if weight:
        yield f"3. Evidence: {record.results_used} results weigh {weight:.0%}, the score {1 - weight:.0%}"
    else:
        yield "3. Evidence: none" + (f" ({record.results_used} results are too few)" if record.results_used else " (no results)")
    resolving = [c for c in record.configurations if c.resolves]
    least = rule.get("least_information", 0.0)
    groups = ", and separate groups rather than a continuum" if rule.get("groups") else ""
    yield f"4. Types: shown by {len(resolving)} of {len(record.configurations)} configurations (at least {least:g} nats{groups})"
    yield from _choice(record, float(rule.get("tie_sigmas", 2.0)), str(rule.get("pick", "parsimonious")))


def _choice(record: DecisionRecord, sigmas: float, pick: str) -> Iterator[str]:
    tied = [c for c in record.configurations if c.in_tie_set]
    best = min(record.configurations, key=lambda c: (c.sigmas_below_best != 0.0, -c.mean))
    yield f"5. Best: {_name(best)} with {best.mean:.3f}; {len(tied)} within {sigmas:g} σ of it tie"
    chosen = next((c for c in record.candidates if c.candidate_id == record.chosen), None)
    if chosen is None:
        yield "6. Choice: none"
        return
    configuration = first_found(c for c in record.configurations if chosen.candidate_id.startswith(f"{c.name}-s"))
    why = (
        "the largest value"
        if pick == "best"
        else "the simplest of these: untrained before trained, then fewest types, fewest latents, smallest window"
    )
    yield f"6. Choice: {_name(configuration)}, {why}"
    yield f"7. Of its {counted(configuration.seeds, 'seed')}: {chosen.candidate_id}, {_seed_reason(chosen)}"


def _seed_reason(chosen: CandidateRecord) -> str:
    if chosen.elbo_per_px is not None and chosen.invariance in GEOMETRIC_LATENTS:
        return f"whose held-out ELBO is the best ({chosen.elbo_per_px:.4f} nats a pixel)"
    return f"whose reward is the largest ({number(chosen.value)})"


def _name(c: ConfigurationRecord) -> str:
    return f"{label(c.invariance, c.variant)} with a window of {c.window_px} px"


def _recommendation_lines(record: DecisionRecord) -> Iterator[str]:
    if not record.requests:
        yield "No points"
        return
    settings = record.config.get("recommend", {})
    policy = settings.get("policy", "ivr")
    yield f"{counted(len(record.requests), 'point')}, in this order: {POLICIES.get(policy, policy)}"
    spacing, margin = length(settings.get("spacing_m")), length(settings.get("margin_m"))
    yield f"Spacing at least {spacing}, margin {margin} to the border of the frame"


def _cluster_rows(record: DecisionRecord) -> Iterator[tuple[str, ...]]:
    yield ("type", "share", "key points", "core points", "requests")
    total = max(sum(c.points for c in record.clusters), 1)
    for c in record.clusters:
        requests = sum(r.cluster == c.cluster for r in record.requests)
        yield (str(c.cluster), f"{c.points / total:.0%}", str(c.points), str(c.core_points), str(requests))


def _later_events(history: History, event: Event, record: DecisionRecord) -> Iterator[str]:
    """Approvals, sending, commands: all events that name this decision, including unknown kinds."""
    for e in history.events(mentioning=record.decision_id):
        about = record.decision_id in (e.subject, e.body.get("decision_id"), e.body.get("of"))
        if (
            about
            and e.kind not in _SHOWN_ELSEWHERE
            and e.body.get("instrument_id", event.body["instrument_id"]) == event.body["instrument_id"]
        ):
            yield event_sentence(e)


def _result_rows(history: History, event: Event) -> Iterator[tuple[str, ...]]:
    if event.kind != kinds.DECISION_MADE:
        return
    yield ("request", "type, rank", "requested at", "result", "distance", "time")
    for m in measurements_of(history, event):
        r = MeasurementRequest.model_validate(m.request)
        row = (r.request_id, f"{r.cluster}, {r.rank}", place(r.x_m, r.y_m))
        if m.result is None:
            yield (*row, m.fate or "no result", "-", "-")
            continue
        body = m.result.body
        outcome = " ".join(
            part for part in (body["status"], body["reason"] and f"({body['reason']})", m.fate and f"({m.fate})") if part
        )
        has_position = body.get("x_m") is not None and body.get("y_m") is not None
        distance = length(math.hypot(body["x_m"] - r.x_m, body["y_m"] - r.y_m)) if has_position else "-"
        yield (*row, outcome, distance, str(body.get("measured_at") or timestamp(m.result.recorded_at)))


def _check_lines(record: DecisionRecord) -> Iterator[str]:
    yield f"`vaestar history replay {record.decision_id}` repeats the decision and compares every number"
    yield "`vaestar history verify` checks whether anything was altered since"
