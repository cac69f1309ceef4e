"""How a scan becomes an image and key points: [scan]."""

from typing import Annotated, Literal

from pydantic import Field, field_validator

from agent.config.base import OneOrMore, Section, without_repeats

Channels = Literal["auto", "amplitude", "vector", "height"]


class WallSection(Section):
    """How types follow domain walls: [walls]. Without walls among the key points, nothing here has an effect.

    Parameters
    ----------
    smoothing
        Gain in log probability, in nats, of two neighbouring points of a wall that have equal labels; 0 labels every point by
        its own patch alone.
    least_information
        Smallest mutual information along walls, in nats, at which clusters are called types although they tell little about
        their neighbourhood in other directions; 0 switches this test off.
    least_separation
        Smallest gain in ICL per point over one Gaussian, in nats, that this test asks for as well. Clusters of a nuisance along
        walls, such as stripes of unequal brightness, overlap more.
    """

    smoothing: float = Field(default=2.0, ge=0, le=100)
    least_information: float = Field(default=0.45, ge=0)
    least_separation: float = Field(default=3.0, ge=0)


class ScanSection(Section):
    """How a scan becomes an image and key points.

    Parameters
    ----------
    low_percentile
        Percentile of the image that is mapped to 0.
    high_percentile
        Percentile of the image that is mapped to 1.
    spacing_px
        Smallest distance between two key points, in pixels.
    channels
        Channel modes, that is, what patches are cut from: "amplitude" (the main channel alone), "vector" (with the quadratures of
        amplitude and phase) or "height" (with the topography); several are compared as candidates. "auto" uses "vector" for plain
        families if the scan contains the phase of the channel and it was recorded, and else "amplitude"; VAEs are given the main
        channel alone, since training on three channels takes twice as long.
    rules
        Version of the rules by which a scan becomes an image: 2 replaces wild pixels and resamples unequal pixels to square ones;
        1 did neither, and repeats decisions that were recorded before.
    """

    low_percentile: float = Field(default=1.0, ge=0, lt=50)
    high_percentile: float = Field(default=95.0, gt=50, le=100)
    spacing_px: float = Field(default=5.0, ge=1)
    channels: Annotated[tuple[Channels, ...], OneOrMore, Field(min_length=1)] = ("auto",)
    rules: Literal[1, 2] = 2

    @field_validator("channels")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if "auto" in value and len(value) > 1:
            raise ValueError(
                "'auto' cannot be combined with other modes; name the modes to compare, such as ['amplitude', 'vector']"
            )
        return without_repeats(value)


DEFAULT_WALLS = WallSection()
