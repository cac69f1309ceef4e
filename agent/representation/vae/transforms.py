"""Affine map of each patch's pixels to the canonical patch, from its geometric latents, and resampling by it.

As in pyroVED 0.3.0 (`generate_grid`, `transform_coordinates`, `iVAE.model`): a pixel's coordinates are (row, minus column), each
in [-1, 1]; they are rotated by φ = z, multiplied by k = 1 + 0.1·z and shifted by 0.1·z:

    a' = k (a cos φ - b sin φ) + t₀,   b' = k (a sin φ + b cos φ) + t₁
"""

import torch
from torch import Tensor

TRANSLATION_PRIOR = 0.1
SCALE_PRIOR = 0.1


def pixel_grid(window_px: int) -> Tensor:
    """Homogeneous coordinates (row, minus column, 1) of a patch's pixels, row by row; shape (window², 3)."""
    u = torch.linspace(-1, 1, window_px)
    rows, columns = torch.meshgrid(u, -u, indexing="ij")
    return torch.stack([rows.reshape(-1), columns.reshape(-1), torch.ones(window_px**2)], dim=-1)


def affine(z: Tensor, invariance: str) -> Tensor:
    """Maps from homogeneous pixel coordinates to canonical ones, shape (E, B, 2, 3).

    Parameters
    ----------
    z
        Shape (E, B, latents): latents, the geometric ones first.
    invariance
        Letters from "r", "t" and "s".
    """
    c, s, k, shift = _parts(z, invariance)
    return torch.stack([k * c, -k * s, shift[..., 0], k * s, k * c, shift[..., 1]], dim=-1).reshape(*c.shape, 2, 3)


def affine_gradient(gradient: Tensor, z: Tensor, invariance: str) -> Tensor:
    """Gradient with respect to the geometric latents (E, B, geometric), from that with respect to the maps (E, B, 2, 3)."""
    c, s, k, _ = _parts(z, invariance)
    along = gradient[..., 0, 0] + gradient[..., 1, 1]
    across = gradient[..., 1, 0] - gradient[..., 0, 1]
    parts = []
    if "r" in invariance:
        parts.append(k * (c * across - s * along))
    if "t" in invariance:
        parts += [TRANSLATION_PRIOR * gradient[..., 0, 2], TRANSLATION_PRIOR * gradient[..., 1, 2]]
    if "s" in invariance:
        parts.append(SCALE_PRIOR * (c * along + s * across))
    return torch.stack(parts, dim=-1)


def _parts(z: Tensor, invariance: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cosine, sine and scale (E, B), shift (E, B, 2)."""
    angle = z[..., 0] if "r" in invariance else torch.zeros_like(z[..., 0])
    first = int("r" in invariance)
    last = first + 2 * ("t" in invariance)
    shift = TRANSLATION_PRIOR * z[..., first:last] if "t" in invariance else torch.zeros_like(z[..., :1]).expand(*z.shape[:2], 2)
    k = 1 + SCALE_PRIOR * z[..., last] if "s" in invariance else torch.ones_like(angle)
    return torch.cos(angle), torch.sin(angle), k, shift


class Resampler:
    """Bilinear resampling of canonical patches at affinely mapped coordinates; edge pixels are repeated outside.

    Parameters
    ----------
    window_px, canvas_px
        Sides of the patches and of the canonical patch in pixels, which have the same size in both.
    device
        Device of the tensors.
    """

    def __init__(self, window_px: int, canvas_px: int, device: str) -> None:
        homogeneous = pixel_grid(window_px).T / ((canvas_px - 1) / (window_px - 1))
        # `grid_sampler_2d` takes interleaved (column, row) pairs; one product with this matrix gives those of all pixels.
        basis = torch.zeros(2, 3, window_px**2, 2)
        basis[0, :, :, 1] = homogeneous
        basis[1, :, :, 0] = -homogeneous
        self._basis = basis.reshape(6, -1).to(device)
        self._side = canvas_px

    def coordinates(self, maps: Tensor) -> Tensor:
        """Coordinates at which each patch samples, shape (E·B, 1, N, 2), for `__call__` and `gradient`."""
        return (maps.reshape(-1, 6) @ self._basis).reshape(maps.shape[0] * maps.shape[1], 1, -1, 2)

    def __call__(self, canvas: Tensor, coordinates: Tensor) -> Tensor:
        """Patches (E, B, C·N) resampled from canonical patches (E, B, C·side²)."""
        out = torch.grid_sampler_2d(self._images(canvas), coordinates, 0, 1, True)
        return out.reshape(*canvas.shape[:2], -1)

    def gradient(self, gradient: Tensor, canvas: Tensor, coordinates: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients with respect to canonical patches (E, B, C·side²) and maps (E, B, 2, 3), from that of the patches."""
        images = self._images(canvas)
        by_patch = gradient.reshape(*images.shape[:2], 1, -1)
        by_canvas, by_coordinates = torch.ops.aten.grid_sampler_2d_backward(
            by_patch, images, coordinates, 0, 1, True, (True, True)
        )
        by_map = by_coordinates.reshape(len(images), -1) @ self._basis.T
        return by_canvas.reshape(canvas.shape), by_map.reshape(*canvas.shape[:2], 2, 3)

    def _images(self, canvas: Tensor) -> Tensor:
        return canvas.reshape(canvas.shape[0] * canvas.shape[1], -1, self._side, self._side)
