"""Decoders of geometric latents: where each pixel of a patch lies in the canonical frame, and what is there.

Geometry as in pyroVED 0.3.0 (`generate_grid`, `transform_coordinates`, `iVAE.model`): a pixel's coordinates are (row, minus
column), each in [-1, 1]; they are rotated by φ = z, multiplied by 1 + 0.1·z and shifted by 0.1·z.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

TRANSLATION_PRIOR = 0.1
SCALE_PRIOR = 0.1


def pixel_grid(window_px: int) -> Tensor:
    """Coordinates (window², 2) of a patch's pixels, row by row."""
    u = torch.linspace(-1, 1, window_px)
    rows, columns = torch.meshgrid(u, -u, indexing="ij")
    return torch.stack([rows.reshape(-1), columns.reshape(-1)], dim=-1)


def canonical(grid: Tensor, z: Tensor, invariance: str) -> tuple[Tensor, Tensor]:
    """Both coordinates (E, B, N) in the canonical frame.

    Parameters
    ----------
    grid
        Shape (N, 2), or (E, B, N, 2) where each patch has its own pixels.
    z
        Shape (E, B, latents), the geometric ones first.
    invariance
        Letters of "r", "t", "s".
    """
    a, b = grid[..., 0], grid[..., 1]
    first = 0
    if "r" in invariance:
        c, s = torch.cos(z[..., :1]), torch.sin(z[..., :1])
        a, b = a * c - b * s, a * s + b * c
        first = 1
    else:
        a, b = a.expand(*z.shape[:2], -1), b.expand(*z.shape[:2], -1)
    if "s" in invariance:
        last = first + 2 * ("t" in invariance)
        scale = 1 + SCALE_PRIOR * z[..., last : last + 1]
        a, b = a * scale, b * scale
    if "t" in invariance:
        a, b = a + TRANSLATION_PRIOR * z[..., first : first + 1], b + TRANSLATION_PRIOR * z[..., first + 1 : first + 2]
    return a, b


def resample(canvas: Tensor, a: Tensor, b: Tensor, window_px: int) -> Tensor:
    """Canonical patches (E, B, C, side, side) at canonical coordinates, bilinear; beyond its edge a patch goes on as it ends.

    Returns
    -------
    Tensor
        Shape (E, B, C, N).
    """
    models, batch, channels, side, _ = canvas.shape
    reach = (side - 1) / (window_px - 1)
    at = torch.stack([-b, a], dim=-1).reshape(models * batch, 1, -1, 2) / reach
    images = canvas.reshape(models * batch, channels, side, side)
    out = F.grid_sample(images, at, mode="bilinear", padding_mode="border", align_corners=True)
    return out.reshape(models, batch, channels, -1)
