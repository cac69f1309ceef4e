"""A decision in three short paragraphs: what was seen, what was concluded, and where to measure and why."""

from agent.reporting.figures.units import prefixed
from agent.schema.decision import CandidateRecord, ConfigurationRecord, DecisionRecord, configuration_name
from agent.schema.model_kinds import GEOMETRIC_LATENTS, label
from agent.schema.wording import POLICIES, analysed_sentence

_BLOCKING_ACTIONS = ("skip", "rescan")
_INVARIANT_TO = {
    "r": "rotation",
    "t": "position in the window",
    "s": "size",
}


def saw(record: DecisionRecord) -> list[str]:
    """Return sentences on the scan and its key points."""
    frame = record.frame
    side, unit = prefixed("m", max(frame.size_fast_m, frame.size_slow_m))
    size = f"{frame.size_fast_m * side:.3g} × {frame.size_slow_m * side:.3g} {unit}"
    sentences = [f"{size}, {frame.cols} × {frame.rows} px of {record.channel}."]
    if analysed := analysed_sentence(record.analysed, frame):
        sentences.append(analysed)
    if record.keypoints_used:
        sentences.append(f"The patches around {record.keypoints_used} key points (walls, edges) were compared.")
    if record.drift.nm_per_min is not None:
        sentences.append(f"Drift since the last scan: {record.drift.nm_per_min:.1f} nm/min.")
    return sentences


def believes(record: DecisionRecord) -> list[str]:
    """Return sentences on the types found, the model that found them, and how certain that is."""
    candidate = next((c for c in record.candidates if c.candidate_id == record.chosen), None)
    if candidate is None:
        return _no_conclusion(record)
    types = len(record.clusters)
    found = f"{types} types of microstructure." if types > 1 else "Only one type of microstructure."
    if record.outcome == "one_type_only" and types > 1:
        found = f"Only one type: the {types} clusters are not evidence for types."
    sentences = [found, _model(candidate, record)]
    own = next((c for c in record.configurations if c.name == _name(candidate)), None)
    if own is not None:
        sentences += _certainty(own, record)
    return sentences


def wants(record: DecisionRecord) -> list[str]:
    """Return sentences on the points to measure and why they were chosen."""
    requests = record.requests
    if not requests:
        return _no_measurement(record)
    clusters = len({r.cluster for r in requests})
    plural = "s" if len(requests) > 1 else ""
    where = f"{len(requests)} point{plural} in {clusters} type{'s' if clusters > 1 else ''}"
    sentences = [f"{where}, to test whether types that look different also respond differently."]
    sentences.append(_why_these(record))
    if record.points_measured_before:
        sentences.append(f"{record.points_measured_before} points measured earlier on this sample are avoided.")
    return sentences


def _why_these(record: DecisionRecord) -> str:
    """Return how the points were chosen."""
    settings = record.config.get("recommend", {})
    spacing_m = float(settings.get("spacing_m", 0.0))
    apart = f", at least {spacing_m * 1e9:.3g} nm apart" if spacing_m else ""
    order = POLICIES.get(str(settings.get("policy")), "in the listed order")
    return f"{order[0].upper()}{order[1:]}{apart}."


def warnings(record: DecisionRecord) -> list[str]:
    """Return what an operator should consider before approving."""
    unusable = record.outcome == "bad_scan"  # its problems are the conclusion then
    sentences = [_sentence(p.sentence) for p in record.quality.problems if not (unusable and p.action in _BLOCKING_ACTIONS)]
    sentences += list(record.faults)
    if record.ended_early:
        sentences.append("The deadline ended the search early.")
    return sentences


def _no_conclusion(record: DecisionRecord) -> list[str]:
    """Return why nothing was concluded from the scan."""
    if record.outcome != "bad_scan":
        return ["No types can be distinguished on this scan.", record.explanation.removeprefix("Nothing to recommend: ")]
    problems = [_sentence(p.sentence) for p in record.quality.problems if p.action in _BLOCKING_ACTIONS]
    return ["The scan cannot be used for a decision.", *problems]


def _no_measurement(record: DecisionRecord) -> list[str]:
    """Return why nothing is to be measured, and what happens next."""
    if record.outcome == "bad_scan":
        inspect = any(p.action == "skip" for p in record.quality.problems)
        return ["Nothing on this scan.", "Check the instrument before the next scan." if inspect else "A new scan is needed."]
    if record.chosen is None:
        return ["Nothing on this scan; the next one may show more."]
    return ["Nothing on this scan: no point is left that may be measured."]


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _name(candidate: CandidateRecord) -> str:
    return configuration_name(candidate.invariance, candidate.window_px, candidate.variant)


def _model(candidate: CandidateRecord, record: DecisionRecord) -> str:
    side, unit = prefixed("m", candidate.window_px * max(record.analysed_frame.pitch_m))
    size = f"{candidate.window_px * max(record.analysed_frame.pitch_m) * side:.3g} {unit}"
    name = label(candidate.invariance, candidate.variant)
    ignored = [_INVARIANT_TO[letter] for letter in candidate.invariance] if GEOMETRIC_LATENTS.get(candidate.invariance) else []
    invariance = f" (independent of {' and '.join(ignored)})" if ignored else ""
    return f"Chosen model: {name}{invariance}, in windows of {candidate.window_px} px ({size})."


def _certainty(own: ConfigurationRecord, record: DecisionRecord) -> list[str]:
    spread = "" if own.std is None else f" ± {own.std:.2g}"
    noun = "seeds" if own.invariance in GEOMETRIC_LATENTS else "resamples"
    ties = sum(c.in_tie_set for c in record.configurations) - 1
    tied = "no other configuration ties with it" if ties < 1 else f"{ties} other{'s tie' if ties > 1 else ' ties'} with it"
    compared = f"Of {len(record.configurations)} configurations, {tied}."
    sentences = [f"Reward {own.mean:.3g}{spread} over {own.seeds} {noun}. {compared}"]
    if own.explained is not None and record.results_used:
        explained = max(own.explained, 0)
        sentences.append(f"Its types predict {explained:.0%} of the variance of {record.results_used} measured results.")
    return sentences
