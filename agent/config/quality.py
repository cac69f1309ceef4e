"""Checks of the quality gate: [quality]."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from agent.config.base import in_order

Action = Literal["warn", "mask", "rescan", "skip"]
ProblemName = Literal[
    "wrong_unit",
    "mislabelled",
    "transposed",
    "repeated",
    "saturated",
    "not_recorded",
    "lock_lost",
    "contact_lost",
    "no_signal",
    "blunt_tip",
    "lines_shifted",
    "lines_skipped",
    "phase_turned",
    "written",
    "phase_missing",
]

DEFAULT_ACTIONS: Mapping[ProblemName, Action] = {
    "wrong_unit": "skip",
    "mislabelled": "skip",
    "transposed": "skip",
    "repeated": "rescan",
    "saturated": "rescan",
    "not_recorded": "mask",
    "lock_lost": "mask",
    "contact_lost": "mask",
    "no_signal": "rescan",
    "blunt_tip": "warn",
    "lines_shifted": "mask",
    "lines_skipped": "warn",
    "phase_turned": "warn",
    "written": "warn",
    "phase_missing": "warn",
}


class QualitySettings(BaseModel):
    """The quality gate: checks that each scan passes before anything is trained on it, and what is done about problems.

    Parameters
    ----------
    enabled
        Whether scans are checked.
    actions
        Actions that replace the default ones, by problem: "mask" (exclude the lines), "rescan" (request a new scan), "skip"
        (wait for an operator) or "warn" (report only). Only problems of single lines ("not_recorded", "lock_lost",
        "contact_lost", "lines_shifted") can be masked.
    most_bad_lines
        Largest share of bad lines that is masked; with more, a new scan is requested.
    saturated_share
        Share of pixels with exactly the largest value from which on a channel counts as saturated.
    least_correlation
        Smallest correlation of neighbouring pixels; below it a channel counts as noise.
    least_sharpness
        Smallest ratio of fine to coarse structure, relative to the last scan of the sample; below it the tip counts as blunt.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    actions: Annotated[dict[ProblemName, Action], AfterValidator(in_order)] = {}
    most_bad_lines: Annotated[float, Field(gt=0, le=1)] = 0.3
    saturated_share: Annotated[float, Field(gt=0, le=1)] = 0.005
    least_correlation: Annotated[float, Field(ge=0, lt=1)] = 0.2
    least_sharpness: Annotated[float, Field(ge=0, lt=1)] = 0.4

    def action(self, name: ProblemName) -> Action:
        """The action for a problem."""
        return self.actions.get(name, DEFAULT_ACTIONS[name])
