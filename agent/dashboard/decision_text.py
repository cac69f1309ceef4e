"""A decision in three short answers: what was seen, what is believed, and what is wanted and why."""

from agent.reporting.figures.units import prefixed
from agent.schema.decision import CandidateRecord, ConfigurationRecord, DecisionRecord, configuration_name
from agent.schema.model_kinds import GEOMETRIC_LATENTS, label
from agent.schema.wording import POLICIES

_FORBIDDING = ("skip", "rescan")
_SEES = {
    "r": "whichever way it is turned",
    "t": "wherever it lies in the window",
    "s": "whatever its size",
}


def saw(record: DecisionRecord) -> list[str]:
    """The scan, and what of it was looked at."""
    frame = record.frame
    side, unit = prefixed("m", max(frame.size_fast_m, frame.size_slow_m))
    size = f"{frame.size_fast_m * side:.3g} × {frame.size_slow_m * side:.3g} {unit}"
    said = [f"{size}, {frame.cols} × {frame.rows} px of {record.channel}."]
    if record.keypoints_used:
        said.append(f"{record.keypoints_used} key points stand out (walls, edges); the patches around them were compared.")
    if record.drift.nm_per_min is not None:
        said.append(f"Since the last scan the tip drifted by {record.drift.nm_per_min:.1f} nm/min.")
    return said


def believes(record: DecisionRecord) -> list[str]:
    """How many types there are, in whose eyes, and how sure that is."""
    candidate = next((c for c in record.candidates if c.candidate_id == record.chosen), None)
    if candidate is None:
        return _no_belief(record)
    types = len(record.clusters)
    found = f"{types} types of microstructure." if types > 1 else "One type of microstructure only."
    if record.outcome == "one_type_only" and types > 1:
        found = f"One type only; the {types} clusters are no evidence of types."
    said = [found, _eyes(candidate, record)]
    mine = next((c for c in record.configurations if c.name == _name(candidate)), None)
    if mine is not None:
        said += _certainty(mine, record)
    return said


def wants(record: DecisionRecord) -> list[str]:
    """Where to measure and why there."""
    places = record.requests
    if not places:
        return _no_wish(record)
    clusters = len({r.cluster for r in places})
    plural = "s" if len(places) > 1 else ""
    where = f"{len(places)} place{plural} in {clusters} type{'s' if clusters > 1 else ''}"
    said = [f"{where}, so that measured loops can tell whether what looks different also responds differently."]
    said.append(_why_there(record))
    if record.points_measured_before:
        said.append(f"{record.points_measured_before} places of this sample have been measured before and are kept away from.")
    return said


def _why_there(record: DecisionRecord) -> str:
    """How the places were chosen among all that stand for their types."""
    settings = record.config.get("recommend", {})
    spacing_m = float(settings.get("spacing_m", 0.0))
    apart = f", at least {spacing_m * 1e9:.3g} nm apart" if spacing_m else ""
    order = POLICIES.get(str(settings.get("policy")), "in this order")
    return f"{order[0].upper()}{order[1:]}{apart}."


def warnings(record: DecisionRecord) -> list[str]:
    """What a person should mind before saying yes."""
    forbidding = record.outcome == "bad_scan"  # then the problems are what is believed
    said = [_sentence(p.sentence) for p in record.quality.problems if not (forbidding and p.action in _FORBIDDING)]
    said += list(record.faults)
    if record.ended_early:
        said.append("The deadline ended the search early.")
    return said


def _no_belief(record: DecisionRecord) -> list[str]:
    """Why nothing is believed of the scan."""
    if record.outcome != "bad_scan":
        return ["Nothing can be told apart on this scan.", record.explanation.removeprefix("Nothing to recommend: ")]
    problems = [_sentence(p.sentence) for p in record.quality.problems if p.action in _FORBIDDING]
    return ["The scan is not fit for a decision.", *problems]


def _no_wish(record: DecisionRecord) -> list[str]:
    """What is wanted where nothing is to be measured."""
    if record.outcome == "bad_scan":
        look = any(p.action == "skip" for p in record.quality.problems)
        return ["Nothing on this scan.", "Look at the instrument before the next scan." if look else "A new scan."]
    if record.chosen is None:
        return ["Nothing on this scan; the next one may tell more."]
    return ["Nothing more on this scan: no place is left that may be measured."]


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "?", "!")) else f"{text}."


def _name(candidate: CandidateRecord) -> str:
    return configuration_name(candidate.invariance, candidate.window_px, candidate.variant)


def _eyes(candidate: CandidateRecord, record: DecisionRecord) -> str:
    side, unit = prefixed("m", candidate.window_px * max(record.frame.pitch_m))
    size = f"{candidate.window_px * max(record.frame.pitch_m) * side:.3g} {unit}"
    name = label(candidate.invariance, candidate.variant)
    how = [_SEES[letter] for letter in candidate.invariance] if GEOMETRIC_LATENTS.get(candidate.invariance) else []
    same = f" (a pattern is the same {' and '.join(how)})" if how else ""
    return f"Told apart best by {name}{same}, in windows of {candidate.window_px} px ({size})."


def _certainty(mine: ConfigurationRecord, record: DecisionRecord) -> list[str]:
    spread = "" if mine.std is None else f" ± {mine.std:.2g}"
    noun = "seeds" if mine.invariance in GEOMETRIC_LATENTS else "resamples"
    ties = sum(c.in_tie_set for c in record.configurations) - 1
    rest = "no other does as well" if ties < 1 else f"{ties} other{'s do' if ties > 1 else ' does'} as well within noise"
    said = [f"Reward {mine.mean:.3g}{spread} over {mine.seeds} {noun}; of {len(record.configurations)} configurations {rest}."]
    if mine.explained is not None and record.results_used:
        said.append(f"Its types predict {max(mine.explained, 0):.0%} of what {record.results_used} loops have shown so far.")
    return said
