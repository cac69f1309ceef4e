"""Outcomes and policies of a decision as text, shared by the report, the narrative and the dashboard."""

from collections.abc import Mapping

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
