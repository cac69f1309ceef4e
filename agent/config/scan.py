"""How a scan becomes an image and key points: [scan]."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from agent.config.base import OneOrMore, Section, without_repeats

Channels = Literal["auto", "amplitude", "vector", "height"]


class ScanSection(Section):
    """How a scan becomes an image and key points.

    Parameters
    ----------
    low_percentile, high_percentile
        Of the image, become 0 and 1.
    spacing_px
        Smallest distance between two key points.
    channels
        What patches are cut from: the channel alone ("amplitude"), with the quadratures of amplitude and phase ("vector"), with
        the topography ("height"); "auto" is "vector" where the scan holds the channel's phase, else "amplitude", and the
        VAEs are given the channel alone, since training on three takes twice as long. Several are candidates side by side.
    """

    low_percentile: float = Field(default=1.0, ge=0, lt=50)
    high_percentile: float = Field(default=95.0, gt=50, le=100)
    spacing_px: float = Field(default=5.0, ge=1)
    channels: Annotated[tuple[Channels, ...], OneOrMore, Field(min_length=1)] = ("auto",)

    @field_validator("channels")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "auto" in value and len(value) > 1:
            raise ValueError("'auto' stands alone; name the modes to compare, such as ['amplitude', 'vector']")
        return without_repeats(value)
