"""Outcomes, policies and preparation of decisions, and findings about results, as text for report, narrative and dashboard."""

from collections.abc import Mapping
from typing import Any

from agent.schema.decision import AnalysedRecord, Outcome
from instrument_adapters.geometry import Frame

OUTCOMES: Mapping[Outcome, str] = {
    "types_found": "types found",
    "one_type_only": "one type only",
    "not_resolvable": "not resolvable",
    "bad_scan": "scan not usable",
}
POLICIES: Mapping[str, str] = {
    "ivr": "the most typical points of each type first, then the point that reduces the uncertainty over the whole frame most",
    "equal": "the same number for each type, the most typical points first",
    "area": "the most typical points of each type first, then in proportion to the area of each type",
    "spread": "the most typical points of each type first, then the point farthest from all others",
}


def analysed_sentence(analysed: AnalysedRecord, frame: Frame | None) -> str:
    """What was done to the scan before it was analysed; empty if nothing was."""
    parts = []
    if analysed.frame is not None and frame is not None:
        slow_nm, fast_nm = (pitch * 1e9 for pitch in frame.pitch_m)
        parts.append(
            f"The pixels of {fast_nm:.3g} x {slow_nm:.3g} nm were resampled to {analysed.frame.cols} x {analysed.frame.rows} "
            "square ones by interpolation."
        )
    if analysed.wild_pixels:
        counts = ", ".join(f"{n} of {name}" for name, n in analysed.wild_pixels.items())
        parts.append(f"Wild pixels were replaced by the median of their neighbours: {counts}.")
    return " ".join(parts)


# What the agent finds about a result, beside the status that the instrument gave it. The names are recorded and never change.
UNASKED = "unasked"
ELSEWHERE = "elsewhere"
MISDATED = "misdated"
IMPOSSIBLE = "impossible"  # position or numbers beyond all bounds, in a history of an earlier version


def result_remark(body: Mapping[str, Any]) -> str:
    """What the instrument and the agent say about a recorded result; empty if neither says anything."""
    return "; ".join(str(body[key]) for key in ("judgement", "reason") if body.get(key))
