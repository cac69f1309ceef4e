"""What may be told about the order of measurements."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RecommendSettings(BaseModel):
    """Which places are recommended, and in which order.

    Parameters
    ----------
    policy
        "ivr": what most reduces the variance integrated over the frame, under a Gaussian process on patch and position;
        "equal": clusters take turns, most typical first (the paper); "area": clusters in proportion to their area, spread over
        the scan; "spread": as far as possible from each other.
    points_per_cluster
        Places for each cluster that has a core, on average; with the policy "equal" the most for any of them.
    points
        Places in all, instead.
    prototypes
        So many of its most typical places are measured of every cluster first; all key points are ordered after them, core or
        not (with the policy "equal" core points only).
    core_fraction
        Share of each cluster, nearest to its centre, that counts as core.
    purity
        A core point whose patch and surroundings belong to its cluster with a lower mean probability is mixed and not core; 0
        keeps all.
    spacing_m
        Smallest distance between two recommended points, and from points measured before, in metres.
    damage_radius_m
        Radius of the spot that a measurement alters, in metres; patches that overlap one are not measured. At 0 all are.
    margin_m
        Distance kept from the border of the frame, in metres, against drift.
    noise
        Of the policy "ivr": variance of a loop about what patch and position can say, relative to the variance over the sample.
    patch_share
        Of the policy "ivr": share of the sample's variance that follows the patch; the rest follows the position.
    patch_length, position_length
        Of the policy "ivr": how far alike extends; in root-mean-square deviations of the patches, and in sides of the frame
        (the longer one).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    policy: Literal["ivr", "equal", "area", "spread"] = "ivr"
    points_per_cluster: int = Field(default=5, ge=1)
    points: int | None = Field(default=None, ge=1)
    prototypes: int = Field(default=1, ge=0)
    core_fraction: float = Field(default=0.25, gt=0, le=1)
    purity: float = Field(default=0.7, ge=0, le=1)
    spacing_m: float = Field(default=100e-9, ge=0)
    damage_radius_m: float = Field(default=45e-9, ge=0)
    margin_m: float = Field(default=0.0, ge=0)
    noise: float = Field(default=0.3, gt=0)
    patch_share: float = Field(default=0.6, ge=0, le=1)
    patch_length: float = Field(default=1.0, gt=0)
    position_length: float = Field(default=0.2, gt=0)
