"""Choice and order of the recommended points: [recommend]."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class RecommendSettings(BaseModel):
    """Which points are recommended, and in which order.

    Parameters
    ----------
    policy
        Order of the points after the prototypes. "ivr": by the reduction of the variance integrated over the frame, under a
        Gaussian process of patch and position; "equal": clusters in turn, most typical points first (the paper's); "area":
        clusters in proportion to their area, spread over the scan; "spread": each point as far as possible from all others.
    points_per_cluster
        Average number of points for each cluster that has core points; with the policy "equal" the largest number.
    points
        Total number of points, in place of `points_per_cluster`.
    prototypes
        Number of most typical points of each cluster that are measured first. After them all key points are candidates (with the
        policy "equal", core points only).
    core_fraction
        Share of each cluster, nearest to its centre, from which core points are taken.
    purity
        Smallest mean probability of the own cluster, over a patch and its surroundings, at which a patch may be a core point; 0
        switches this test off.
    spacing_m
        Smallest distance between two recommended points, and from measured points, in metres.
    damage_radius_m
        Radius of the spot that a measurement alters, in metres; points whose patch overlaps such a spot are not recommended. 0
        switches this off.
    margin_m
        Distance kept from the edge of the frame, in metres, as an allowance for drift.
    noise
        For the policy "ivr": variance of a loop that patch and position cannot predict, relative to the variance over the
        sample.
    patch_share
        For the policy "ivr": share of the sample's variance that depends on the patch; the rest depends on the position.
    patch_length
        For the policy "ivr": length scale of the kernel over patches, in root-mean-square deviations of the patches.
    position_length
        For the policy "ivr": length scale of the kernel over positions, as a fraction of the longer side of the frame.
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
