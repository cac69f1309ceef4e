"""Specification of a plain family."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PlainSpec:
    """A plain family at one window.

    Parameters
    ----------
    window_px
        Side of the patches in pixels; for "multi", of the largest.
    invariance
        Short name of the family; records use this field for the kind of any representation.
    latent_dim
        Number of principal components; for "kmeans", one less than that of the centroids.
    channels
        Number of channels of a patch.
    windows_px
        All windows of "multi", in pixels; empty for other families.
    """

    window_px: int
    invariance: str
    latent_dim: int = 6
    channels: int = 1
    windows_px: tuple[int, ...] = ()

    @property
    def kl_weight(self) -> float:
        """β, which is 0: there is no KL term."""
        return 0.0
