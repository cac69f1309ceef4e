"""Terms of the sealed truth: domain states, kinds of superdomain, fine and coarse wall types; and the detection of walls."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from jaxtyping import Bool, Float, Int8, Integer


class DomainState(IntEnum):
    """Polarisation: out of plane up or down (c), or in plane along one of the two 90° families (a)."""

    C_PLUS = 0
    C_MINUS = 1
    A_FIRST = 2
    A_SECOND = 3


class SuperdomainKind(IntEnum):
    """Pattern of the in-plane domains in a region; `SPARSE` has few of them."""

    SPARSE = 0
    NEEDLES = 1
    STRIPES = 2
    HERRINGBONE = 3


class WallType(IntEnum):
    """Microstructure type of a wall; `NONE` for no wall."""

    NONE = 0
    STRIPE = 1
    NEEDLE_PLUS = 2
    NEEDLE_MINUS = 3
    HERRINGBONE = 4
    C_C_180 = 5
    GRAIN_BOUNDARY = 6


class Microstructure(IntEnum):
    """Coarse type of a wall: `WallType` with the needles of both signs combined."""

    NONE = 0
    NEEDLE = 1
    STRIPE = 2
    HERRINGBONE = 3
    C_C = 4
    BOUNDARY = 5


WALL_TYPES = tuple(wall for wall in WallType if wall is not WallType.NONE)
MICROSTRUCTURES = tuple(coarse for coarse in Microstructure if coarse is not Microstructure.NONE)
COARSE: Mapping[WallType, Microstructure] = {
    WallType.NONE: Microstructure.NONE,
    WallType.STRIPE: Microstructure.STRIPE,
    WallType.NEEDLE_PLUS: Microstructure.NEEDLE,
    WallType.NEEDLE_MINUS: Microstructure.NEEDLE,
    WallType.HERRINGBONE: Microstructure.HERRINGBONE,
    WallType.C_C_180: Microstructure.C_C,
    WallType.GRAIN_BOUNDARY: Microstructure.BOUNDARY,
}
_COARSE_TABLE = np.array([COARSE[wall] for wall in WallType], np.int8)


def coarse(wall: Integer[np.ndarray, "*shape"]) -> Int8[np.ndarray, "*shape"]:
    """Coarse type (`Microstructure`) of each `WallType`."""
    return np.asarray(_COARSE_TABLE[wall])


def coarse_shares(shares: Float[np.ndarray, "n types"]) -> Float[np.ndarray, "n coarse"]:
    """Shares of the coarse types (in the order of `MICROSTRUCTURES`) from those of the wall types (order of `WALL_TYPES`)."""
    belongs = np.array([[COARSE[wall] is one for one in MICROSTRUCTURES] for wall in WALL_TYPES])
    return np.asarray(shares @ belongs)


@dataclass(frozen=True, eq=False)
class Truth:
    """True microstructure at n positions. Benchmarks and tests may read it; no message contains it.

    Parameters
    ----------
    state
        `DomainState` at each position.
    wall
        `WallType` of the nearest wall.
    distance_m
        Distance to the nearest wall in metres; infinite if there is none.
    kind
        `SuperdomainKind` at each position.
    """

    state: Int8[np.ndarray, " n"]
    wall: Int8[np.ndarray, " n"]
    distance_m: Float[np.ndarray, " n"]
    kind: Int8[np.ndarray, " n"]

    @property
    def microstructure(self) -> Int8[np.ndarray, " n"]:
        """`Microstructure` of the nearest wall."""
        return coarse(self.wall)


def mark_walls(
    state: np.ndarray, kind: np.ndarray, superdomain: np.ndarray, written: Bool[np.ndarray, "rows cols"] | None = None
) -> Int8[np.ndarray, "rows cols"]:
    """`WallType` of every pixel that differs from its right or upper neighbour, `NONE` elsewhere and on the border.

    Parameters
    ----------
    state, kind, superdomain
        Images of one shape (rows, cols): `DomainState`, `SuperdomainKind`, and the number of the superdomain.
    written
        Mask of the c domains written by a bias: earlier walls inside are gone, and the whole rim is a 180° c-c wall, even where
        it cuts through a lamella.
    """
    wall = np.zeros(state.shape, np.int8)
    for axis in (0, 1):
        _mark_along(axis, wall, state, kind)
    for axis in (0, 1):
        wall[superdomain != np.roll(superdomain, -1, axis)] = WallType.GRAIN_BOUNDARY
    if written is not None:
        _mark_written(wall, state, written)
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
    wall[differ & in_plane & next_in_plane] = WallType.HERRINGBONE  # two families meet, as at a junction


def _mark_written(wall: np.ndarray, state: np.ndarray, written: np.ndarray) -> None:
    wall[written] = WallType.NONE
    for axis in (0, 1):
        neighbour, next_written = np.roll(state, -1, axis), np.roll(written, -1, axis)
        wall[(written | next_written) & (state != neighbour)] = WallType.C_C_180
