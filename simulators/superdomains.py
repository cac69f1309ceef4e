"""How the surface is divided into superdomains, and which kind each of them is."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int16

from simulators.domains import SuperdomainKind
from simulators.fields import smooth_field

_WARP_LENGTH_M = 180e-9
_SEED_MARGIN = 0.1  # of the side: seeds beyond the border let superdomains be cut off by it


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
        How many there are; some may hold no pixel.
    """

    index: Int16[np.ndarray, "rows cols"]
    border_m: Float32[np.ndarray, "rows cols"]
    count: int


def divide(rng: np.random.Generator, side: int, pitch_m: float, count: int, warp_m: float) -> Partition:
    """A Voronoi diagram of `count` random seeds in coordinates warped by `warp_m` rms, so that borders are not straight."""
    axis = np.arange(side, dtype=np.float32) * np.float32(pitch_m)
    x, y = (warp_m * smooth_field(rng, side, _WARP_LENGTH_M / pitch_m) for _ in range(2))
    x += axis[None, :]
    y += axis[:, None]
    extent = side * pitch_m
    seeds = rng.uniform(-_SEED_MARGIN * extent, (1 + _SEED_MARGIN) * extent, (count, 2)).astype(np.float32)
    index = np.zeros((side, side), np.int16)
    nearest, second = (np.full((side, side), np.inf, np.float32) for _ in range(2))
    for number, (seed_x, seed_y) in enumerate(seeds):
        distance = np.hypot(x - seed_x, y - seed_y)
        closer = distance < nearest
        second = np.where(closer, nearest, np.minimum(second, distance))
        nearest = np.where(closer, distance, nearest)
        index[closer] = number
    return Partition(index, second - nearest, count)


def assign_kinds(partition: Partition, shares: Mapping[SuperdomainKind, float]) -> dict[int, SuperdomainKind]:
    """Superdomain -> kind, such that each kind's share of the area comes close to `shares` (which need not add up to 1).

    The largest superdomain comes first, and each gets the kind that is furthest behind its share.
    """
    area = np.bincount(partition.index.ravel(), minlength=partition.count) / partition.index.size
    total = sum(shares.values())
    lacking = {kind: share / total for kind, share in shares.items() if share > 0}
    kinds: dict[int, SuperdomainKind] = {}
    for number in np.argsort(-area, kind="stable"):
        kind = max(lacking, key=lambda k: lacking[k])
        kinds[int(number)] = kind
        lacking[kind] -= float(area[number])
    return kinds
