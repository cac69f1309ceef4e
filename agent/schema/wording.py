"""Outcomes and policies of decisions and findings about results as text, shared by report, narrative and dashboard."""

from collections.abc import Mapping
from typing import Any

from agent.schema.decision import Outcome

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


# What the agent finds about a result, beside the status that the instrument gave it. The names are recorded and never change.
UNASKED = "unasked"
ELSEWHERE = "elsewhere"
MISDATED = "misdated"
IMPOSSIBLE = "impossible"  # position or numbers beyond all bounds, in a history of an earlier version


def result_remark(body: Mapping[str, Any]) -> str:
    """What the instrument and the agent say about a recorded result; empty if neither says anything."""
    return "; ".join(str(body[key]) for key in ("judgement", "reason") if body.get(key))
