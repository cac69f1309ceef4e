"""What may be told about safety: limits narrower than the instrument's own, and who lets points pass."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SafetySettings(BaseModel):
    """What the agent never asks for, whatever the instrument would allow. Nothing is clamped: a point outside is left out.

    Parameters
    ----------
    x_min_m, x_max_m, y_min_m, y_max_m
        Range of the stage in metres; by default the instrument's.
    bias_max_V
        Largest magnitude of the tip bias in volts; by default the instrument's.
    spacing_min_m
        Smallest distance between two measured points in metres; the larger of this and the instrument's counts.
    points_per_scan, points_per_sample
        Most points after one scan, and on one sample in all; by default the instrument's, and no end.
    dose_max, dose_radius_m
        Around no measured point may more than so many points be tried within this distance in metres, over the sample's life.
    drift_max_m
        Farthest that a place may be commanded from its pixel, to make up for drift, in metres.
    scan_age_max_s
        Seconds after the end of a scan, after which nothing is measured that was chosen from it; the smaller of this and the
        instrument's counts.
    expiry_s
        Seconds after which a recommendation is not begun any more.
    pause_after_unfit
        So many scans in a row that a person should look at (action "skip") pause their instrument; 0: never.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    x_min_m: float | None = None
    x_max_m: float | None = None
    y_min_m: float | None = None
    y_max_m: float | None = None
    bias_max_V: float | None = Field(default=None, gt=0)
    spacing_min_m: float = Field(default=0.0, ge=0)
    points_per_scan: int | None = Field(default=None, ge=0)
    points_per_sample: int | None = Field(default=None, ge=0)
    dose_max: int = Field(default=60, ge=0)
    dose_radius_m: float = Field(default=500e-9, gt=0)
    drift_max_m: float = Field(default=500e-9, ge=0)
    scan_age_max_s: float = Field(default=7200.0, gt=0)
    expiry_s: float = Field(default=7200.0, gt=0)
    pause_after_unfit: int = Field(default=3, ge=0)

    @model_validator(mode="after")
    def _ranges_hold_something(self) -> "SafetySettings":
        for axis, low, high in (("x", self.x_min_m, self.x_max_m), ("y", self.y_min_m, self.y_max_m)):
            if low is not None and high is not None and low >= high:
                raise ValueError(f"{axis}_min_m must be less than {axis}_max_m")
        return self


class ApprovalSettings(BaseModel):
    """Who lets the points of a decision pass.

    Parameters
    ----------
    mode
        "auto": whatever is inside all limits passes; "review": a person approves, edits or rejects each decision; "dry-run":
        nothing is measured, and what would have been is recorded.
    timeout_s
        Seconds after which a decision that still waits for a person is rejected; by default it waits without end.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["auto", "review", "dry-run"] = "auto"
    timeout_s: float | None = Field(default=None, gt=0)


DEFAULT_SAFETY, DEFAULT_APPROVAL = SafetySettings(), ApprovalSettings()
