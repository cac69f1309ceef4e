"""The nouns of the sealed truth: domain states, wall types, kinds of superdomain, and where the walls run."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Float, Int8


class DomainState(IntEnum):
    """Polarisation: out of plane up or down (c), or in plane along one of the two 90° families (a)."""

    C_PLUS = 0
    C_MINUS = 1
    A_FIRST = 2
    A_SECOND = 3


class SuperdomainKind(IntEnum):
    """Pattern in which a region's in-plane domains are arranged; `SPARSE` has few of them."""

    SPARSE = 0
    NEEDLES = 1
    STRIPES = 2
    HERRINGBONE = 3


class WallType(IntEnum):
    """Microstructure type of a wall; `NONE` where the surface has no wall at all."""

    NONE = 0
    STRIPE = 1
    NEEDLE_PLUS = 2
    NEEDLE_MINUS = 3
    HERRINGBONE = 4
    C_C_180 = 5
    GRAIN_BOUNDARY = 6


WALL_TYPES = tuple(wall for wall in WallType if wall is not WallType.NONE)


@dataclass(frozen=True, eq=False)
class Truth:
    """What really lies under the tip at n positions. Benchmarks and tests may read it; no message carries it.

    Parameters
    ----------
    state
        `DomainState` at the position.
    wall
        `WallType` of the nearest wall.
    distance_m
        Distance to that wall in metres; infinite where there is none.
    kind
        `SuperdomainKind` at the position.
    """

    state: Int8[np.ndarray, " n"]
    wall: Int8[np.ndarray, " n"]
    distance_m: Float[np.ndarray, " n"]
    kind: Int8[np.ndarray, " n"]


def mark_walls(state: np.ndarray, kind: np.ndarray, superdomain: np.ndarray) -> Int8[np.ndarray, "rows cols"]:
    """`WallType` of every pixel that differs from its right or upper neighbour, `NONE` elsewhere and on the border.

    Parameters
    ----------
    state, kind, superdomain
        Images of one shape (rows, cols): `DomainState`, `SuperdomainKind`, and the number of the superdomain.
    """
    wall = np.zeros(state.shape, np.int8)
    for axis in (0, 1):
        _mark_along(axis, wall, state, kind)
    for axis in (0, 1):
        wall[superdomain != np.roll(superdomain, -1, axis)] = WallType.GRAIN_BOUNDARY
    wall[[0, -1]] = WallType.NONE
    wall[:, [0, -1]] = WallType.NONE
    return wall


def _mark_along(axis: int, wall: np.ndarray, state: np.ndarray, kind: np.ndarray) -> None:
    neighbour = np.roll(state, -1, axis)
    differ = state != neighbour
    in_plane, next_in_plane = state >= DomainState.A_FIRST, neighbour >= DomainState.A_FIRST
    both_c, one_c = differ & ~in_plane & ~next_in_plane, in_plane ^ next_in_plane
    c_side = np.where(in_plane, neighbour, state)
    needle = one_c & ((kind == SuperdomainKind.NEEDLES) | (kind == SuperdomainKind.SPARSE))
    wall[both_c] = WallType.C_C_180
    wall[one_c & (kind == SuperdomainKind.STRIPES)] = WallType.STRIPE
    wall[needle & (c_side == DomainState.C_PLUS)] = WallType.NEEDLE_PLUS
    wall[needle & (c_side == DomainState.C_MINUS)] = WallType.NEEDLE_MINUS
    wall[differ & ~both_c & (kind == SuperdomainKind.HERRINGBONE)] = WallType.HERRINGBONE
