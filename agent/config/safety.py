"""Limits narrower than the instrument's own, [safety], and who approves points, [approval]."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class SafetySettings(BaseModel):
    """Limits on what the agent requests, in addition to the instrument's. A point outside is left out, never moved.

    Parameters
    ----------
    x_min_m
        Lower limit of the stage position along x, in metres; by default the instrument's.
    x_max_m
        Upper limit of the stage position along x, in metres; by default the instrument's.
    y_min_m
        Lower limit of the stage position along y, in metres; by default the instrument's.
    y_max_m
        Upper limit of the stage position along y, in metres; by default the instrument's.
    bias_max_V
        Largest magnitude of the tip bias in volts; by default the instrument's.
    spacing_min_m
        Smallest distance between two measured points in metres; the larger of this and the instrument's limit applies.
    points_per_scan
        Largest number of points after one scan; by default the instrument's.
    points_per_sample
        Largest number of points on one sample; unlimited by default.
    dose_max
        Largest number of points measured or tried within `dose_radius_m` of a measured point, over the life of the sample.
    dose_radius_m
        Radius in metres within which points are counted for `dose_max`.
    drift_max_m
        Largest distance in metres by which a target is shifted to compensate drift.
    scan_age_max_s
        Largest age of a scan in seconds at which points chosen from it are measured; the smaller of this and the instrument's
        limit applies.
    expiry_s
        Age of a recommendation in seconds after which none of its points is begun.
    position_tolerance_m
        Largest distance in metres of a measured position from the requested one, if a pixel of the scan is smaller; a result
        farther away is named "elsewhere".
    pause_on
        Findings about a result after which its instrument is paused: "elsewhere", "unasked" (never sent, or no longer to be
        measured).
    pause_after_unfit
        Number of consecutive scans after which their instrument is paused if each had the action "skip" or could not be analysed
        at all (no such channel, no key points); 0: never.
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
    position_tolerance_m: float = Field(default=500e-9, gt=0)
    pause_on: tuple[Literal["elsewhere", "unasked"], ...] = ("elsewhere",)
    pause_after_unfit: int = Field(default=3, ge=0)

    @model_validator(mode="after")
    def _ranges_not_empty(self) -> "SafetySettings":
        for axis, low, high in (("x", self.x_min_m, self.x_max_m), ("y", self.y_min_m, self.y_max_m)):
            if low is not None and high is not None and low >= high:
                raise ValueError(f"{axis}_min_m must be less than {axis}_max_m")
        return self


class ApprovalSettings(BaseModel):
    """Who approves the points of a decision.

    Parameters
    ----------
    mode
        "auto": points inside all limits are approved automatically; "review": an operator approves, edits or rejects each
        decision; "dry-run": nothing is measured, and the points are only recorded.
    timeout_s
        Waiting time in seconds after which a decision without an operator's answer is rejected; by default unlimited.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Literal["auto", "review", "dry-run"] = "auto"
    timeout_s: float | None = Field(default=None, gt=0)


DEFAULT_SAFETY, DEFAULT_APPROVAL = SafetySettings(), ApprovalSettings()
