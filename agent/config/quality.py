"""What may be told about the inspection of scans."""

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
}


class QualitySettings(BaseModel):
    """What is done about a frame that went wrong.

    Parameters
    ----------
    enabled
        Whether frames are inspected.
    actions
        Problem -> "mask", "rescan", "skip" or "warn", where it shall not be the default; only problems of single lines
        ("not_recorded", "lock_lost", "contact_lost", "lines_shifted") can be masked.
    most_bad_lines
        Share of the lines above which a new frame is asked for instead of masking them.
    saturated_share
        Share of the pixels that hold the largest value exactly, from which on a channel counts as saturated.
    least_correlation
        Correlation of neighbouring pixels below which the channel holds noise only.
    least_sharpness
        Fine structure over coarse structure, relative to the last frame of the sample, below which the tip counts as blunted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    actions: Annotated[dict[ProblemName, Action], AfterValidator(in_order)] = {}
    most_bad_lines: Annotated[float, Field(gt=0, le=1)] = 0.3
    saturated_share: Annotated[float, Field(gt=0, le=1)] = 0.005
    least_correlation: Annotated[float, Field(ge=0, lt=1)] = 0.2
    least_sharpness: Annotated[float, Field(ge=0, lt=1)] = 0.4

    def action(self, name: ProblemName) -> Action:
        """What is done about a problem."""
        return self.actions.get(name, DEFAULT_ACTIONS[name])
