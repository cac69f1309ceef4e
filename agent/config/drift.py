"""Estimation and compensation of drift: [drift]."""

from pydantic import BaseModel, ConfigDict, Field


class DriftSettings(BaseModel):
    """Drift estimated by registering consecutive scans of a frame, and how it is compensated.

    Parameters
    ----------
    enabled
        Whether drift is estimated and compensated: targets are shifted to where the sample will be, and earlier measurements to
        where they lie on the scan.
    lead_s
        Time from the end of a scan to its first measurement, in seconds.
    point_s
        Time from one measurement to the next, in seconds.
    least_agreement
        Smallest correlation of two registered scans at which they count as showing the same place.
    fastest_m_per_min
        Largest credible drift speed in metres per minute; faster estimates are discarded.
    longest_gap_s
        Largest time between two scans in seconds; after a longer gap the drift is estimated anew.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    lead_s: float = Field(default=60.0, ge=0)
    point_s: float = Field(default=12.0, ge=0)
    least_agreement: float = Field(default=0.35, ge=0, le=1)
    fastest_m_per_min: float = Field(default=20e-9, gt=0)
    longest_gap_s: float = Field(default=7200.0, gt=0)
