"""What may be told about drift."""

from pydantic import BaseModel, ConfigDict, Field


class DriftSettings(BaseModel):
    """Whether and how drift is reckoned with.

    Parameters
    ----------
    enabled
        Whether it is.
    lead_s, point_s
        Seconds from the end of a scan to its first measurement, and from one measurement to the next.
    least_agreement
        Correlation of two scans, the movement taken back, below which they do not show the same place.
    fastest_m_per_min
        A faster drift is not believed.
    longest_gap_s
        After a longer time without a scan everything begins anew.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    enabled: bool = True
    lead_s: float = Field(default=60.0, ge=0)
    point_s: float = Field(default=12.0, ge=0)
    least_agreement: float = Field(default=0.35, ge=0, le=1)
    fastest_m_per_min: float = Field(default=20e-9, gt=0)
    longest_gap_s: float = Field(default=7200.0, gt=0)
