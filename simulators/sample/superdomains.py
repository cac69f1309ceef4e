"""Divides the surface into superdomains and assigns a kind to each."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int16, Int32, Integer
from scipy.spatial import cKDTree

from simulators.sample.domains import SuperdomainKind
from simulators.sample.fields import smooth_field

_WARP_LENGTH_M = 180e-9
_CELL_WARP = 0.1
_SEED_MARGIN = 0.1  # relative to the side: seeds beyond the border give superdomains that the border cuts off


@dataclass(frozen=True, eq=False)
class Partition:
    """A division of the square into superdomains.

    Parameters
    ----------
    index
        Number of the superdomain of each pixel.
    border_m
        About twice the distance to the nearest border between two of them, in metres.
    count
        Number of superdomains; some may have no pixels.
    """

    index: Int16[np.ndarray, "rows cols"]
    border_m: Float32[np.ndarray, "rows cols"]
    count: int


def divide(rng: np.random.Generator, side: int, pitch_m: float, count: int, warp_m: float) -> Partition:
    """A Voronoi diagram of `count` random seeds in coordinates warped by `warp_m` rms, so that borders are not straight."""
    x, y = _warped(rng, side, pitch_m, warp_m, _WARP_LENGTH_M)
    seeds = _scattered(rng, side * pitch_m, count)
    index = np.zeros((side, side), np.int16)
    nearest, second = (np.full((side, side), np.inf, np.float32) for _ in range(2))
    for number, (seed_x, seed_y) in enumerate(seeds):
        distance = np.hypot(x - seed_x, y - seed_y)
        closer = distance < nearest
        second = np.where(closer, nearest, np.minimum(second, distance))
        nearest = np.where(closer, distance, nearest)
        index[closer] = number
    return Partition(index, second - nearest, count)


def cells(rng: np.random.Generator, side: int, pitch_m: float, cell_m: float) -> tuple[Int32[np.ndarray, "rows cols"], int]:
    """(number of the cell of each pixel, number of cells) of a division into cells with a side of about `cell_m`.

    Like `divide`, but for many seeds and without borders; cells are warped by a tenth of their side.
    """
    count = max(1, round((side * pitch_m / cell_m) ** 2))
    x, y = _warped(rng, side, pitch_m, _CELL_WARP * cell_m, cell_m)
    seeds = _scattered(rng, side * pitch_m, count)
    _, index = cKDTree(seeds).query(np.stack([x.ravel(), y.ravel()], axis=1))
    return index.reshape(side, side).astype(np.int32), count


def assign_kinds(
    index: Integer[np.ndarray, "rows cols"], count: int, shares: Mapping[SuperdomainKind, float]
) -> dict[int, SuperdomainKind]:
    """Kind of each region, such that the kinds' shares of the area come close to `shares`.

    Regions are assigned in order of decreasing area; each gets the kind that is furthest below its share.

    Parameters
    ----------
    index, count
        Number of the region of each pixel, and number of regions.
    shares
        Shares of the kinds, relative to one another; they need not add up to 1.
    """
    area = np.bincount(index.ravel(), minlength=count) / index.size
    total = sum(shares.values())
    lacking = {kind: share / total for kind, share in shares.items() if share > 0}
    kinds: dict[int, SuperdomainKind] = {}
    for number in np.argsort(-area, kind="stable"):
        kind = max(lacking, key=lambda k: lacking[k])
        kinds[int(number)] = kind
        lacking[kind] -= float(area[number])
    return kinds


def _warped(rng: np.random.Generator, side: int, pitch_m: float, warp_m: float, length_m: float) -> list[np.ndarray]:
    """Images of x and y in metres, displaced by `warp_m` rms with the correlation length `length_m`."""
    axis = np.arange(side, dtype=np.float32) * np.float32(pitch_m)
    x, y = (warp_m * smooth_field(rng, side, length_m / pitch_m) for _ in range(2))
    x += axis[None, :]
    y += axis[:, None]
    return [x, y]


def _scattered(rng: np.random.Generator, extent_m: float, count: int) -> Float32[np.ndarray, "n 2"]:
    low, high = -_SEED_MARGIN * extent_m, (1 + _SEED_MARGIN) * extent_m
    return rng.uniform(low, high, (count, 2)).astype(np.float32)
