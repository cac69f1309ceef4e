"""Which plain family, at which window."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PlainSpec:
    """A plain family at one window.

    Parameters
    ----------
    window_px
        Side of the patches; of "multi", of the largest.
    invariance
        The family's short name; records call the kind of every representation so.
    latent_dim
        Principal components kept; of "kmeans", one less than its centroids.
    channels
        Channels of a patch.
    windows_px
        Of "multi", all windows.
    """

    window_px: int
    invariance: str
    latent_dim: int = 6
    channels: int = 1
    windows_px: tuple[int, ...] = ()

    @property
    def kl_weight(self) -> float:
        """β: 0, nothing is traded against the reconstruction."""
        return 0.0
