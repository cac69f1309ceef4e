"""A surface with known domains, and the sealed truth about it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int8, Int16
from pydantic import BeforeValidator, PlainSerializer, model_validator
from scipy.spatial import cKDTree

from instrument_adapters.geometry import Finite, Frame, Positive
from simulators.sample.domains import WALL_TYPES, DomainState, SuperdomainKind, Truth, WallType, coarse_shares, mark_walls
from simulators.sample.lamellae import HerringboneConfig, NeedleConfig, StripeConfig
from simulators.settings import NonNegative, Settings, Share

_CELL_MIN_PX = 8
_SPARSE = 4  # every fourth grid point is enough for the median of the response
_NEARBY_PX = 64


def _kind(given: Any) -> Any:
    """The kind with a name such as "needles", as written in a file; any other value is passed on to the validation."""
    return SuperdomainKind.__members__.get(given.upper(), given) if isinstance(given, str) else given


_NamedKind = Annotated[
    SuperdomainKind, BeforeValidator(_kind), PlainSerializer(lambda kind: kind.name.lower(), return_type=str, when_used="json")
]


class SurfaceConfig(Settings):
    """Settings of a surface; the defaults give well separated types, the "easy" tier.

    Parameters
    ----------
    size_m, pixels
        Side of the square and its number of grid points; the pitch is size / (pixels - 1).
    centre_x_m, centre_y_m
        Centre of the square in metres of the stage.
    superdomain_m
        Typical side of a superdomain.
    interspersed_m
        Typical side of the cells into which superdomains are divided, each of its own kind; 0 for one kind per superdomain.
    needle_share, stripe_share, herringbone_share, sparse_share
        Shares of the area, relative to one another.
    stripes, needles, herringbone
        Settings of the patterns.
    disorder
        Irregularity of the patterns: 0 for perfect lattices, 1 for very irregular ones.
    c_minus_share, c_minus_length_m, c_minus_bubbles, c_minus_kinds
        Share of the area of `c_minus_kinds` with downward polarisation, its correlation length, strength of small bubbles, and
        the kinds of superdomain that have it.
    c_minus_response
        Magnitude of the response of c- relative to c+.
    a_response, a_buckling
        Response of a domains relative to c+, and its part that alternates between lamellae.
    contrast_spread, gain_spread, gain_slope, texture
        Standard deviations of the gain between superdomains, over long distances (log, spectrum k^-slope) and at 28 nm (log).
    boundary_width_m, boundary_response
        Width and relative response of superdomain boundaries.
    shuffled
        Whether all patterns are destroyed, so that only the distribution and the spectrum of the response remain.
    wall_shading, wall_shading_m
        Standard deviation of the log gain by which inclined walls of a domains respond more strongly on one side of a lamella,
        and range of this effect.
    fine_texture
        Like `texture`, at 11 nm.
    bright_spots
        Strength of rare, bright spots of 22 nm.
    nested_depth, nested_period_m
        Relative depth and period of lamellae nested within the domains, in patches; the truth does not count them as walls.
    relief_m
        Standard deviation of the topography of film and substrate, which does not affect the response.
    written_boxes, written_box_m
        Mean number of rectangles in which an earlier experiment reversed the out-of-plane polarisation, and their typical side.
    """

    size_m: Positive = 3e-6
    pixels: int = 1024
    centre_x_m: Finite = -2.6e-6
    centre_y_m: Finite = -6.1e-6
    superdomain_m: Positive = 1.1e-6
    interspersed_m: NonNegative = 0.0
    needle_share: NonNegative = 0.5
    stripe_share: NonNegative = 0.33
    herringbone_share: NonNegative = 0.17
    sparse_share: NonNegative = 0.0
    stripes: StripeConfig = StripeConfig()
    needles: NeedleConfig = NeedleConfig()
    herringbone: HerringboneConfig = HerringboneConfig()
    disorder: NonNegative = 0.25
    c_minus_share: Share = 0.4
    c_minus_length_m: Positive = 260e-9
    c_minus_bubbles: NonNegative = 0.1
    c_minus_kinds: tuple[_NamedKind, ...] = (SuperdomainKind.SPARSE, SuperdomainKind.NEEDLES)
    c_minus_response: NonNegative = 1.0
    a_response: NonNegative = 0.1
    a_buckling: NonNegative = 0.15
    contrast_spread: NonNegative = 0.1
    gain_spread: NonNegative = 0.15
    gain_slope: NonNegative = 2.8
    texture: NonNegative = 0.05
    boundary_width_m: NonNegative = 12e-9
    boundary_response: NonNegative = 0.45
    shuffled: bool = False
    wall_shading: NonNegative = 0.0
    wall_shading_m: Positive = 25e-9
    fine_texture: NonNegative = 0.0
    bright_spots: NonNegative = 0.0
    nested_depth: Share = 0.0
    nested_period_m: Positive = 60e-9
    relief_m: NonNegative = 0.0
    written_boxes: NonNegative = 0.0
    written_box_m: Positive = 0.8e-6

    @model_validator(mode="after")
    def _check_values(self) -> "SurfaceConfig":
        if not 64 <= self.pixels <= 4096:
            raise ValueError(f"the surface has {self.pixels} pixels per side; 64 to 4096 are allowed")
        if sum(self.shares.values()) == 0:
            raise ValueError("all shares of superdomain kinds are 0; give at least one positive share")
        low_m = _CELL_MIN_PX * self.pitch_m
        if self.interspersed_m > 0 and not low_m <= self.interspersed_m <= self.superdomain_m:
            raise ValueError(
                f"interspersed_m is {self.interspersed_m * 1e9:g} nm; {low_m * 1e9:.3g} nm ({_CELL_MIN_PX} grid points) to "
                f"{self.superdomain_m * 1e9:g} nm (a superdomain) are allowed, or 0 for one kind per superdomain"
            )
        return self

    @property
    def pitch_m(self) -> float:
        """Distance between neighbouring grid points in metres."""
        return self.size_m / (self.pixels - 1)

    @property
    def shares(self) -> Mapping[SuperdomainKind, float]:
        """Share of each kind of superdomain, relative to one another."""
        return {
            SuperdomainKind.SPARSE: self.sparse_share,
            SuperdomainKind.NEEDLES: self.needle_share,
            SuperdomainKind.STRIPES: self.stripe_share,
            SuperdomainKind.HERRINGBONE: self.herringbone_share,
        }

    @property
    def square(self) -> Frame:
        """The square as a frame, which converts stage metres to grid points."""
        return Frame(
            size_fast_m=self.size_m,
            size_slow_m=self.size_m,
            x_offset_m=self.centre_x_m,
            y_offset_m=self.centre_y_m,
            rows=self.pixels,
            cols=self.pixels,
        )


@dataclass(frozen=True, eq=False)
class Surface:
    """State of a sample. Arrays are [row = y, col = x], ascending; beyond its border the surface is mirrored.

    Parameters
    ----------
    config
        Settings from which it was grown.
    state, kind
        `DomainState` and `SuperdomainKind` of each grid point.
    superdomain
        Number of the superdomain of each grid point.
    response
        Signed vertical electromechanical response, about ±1 on c domains.
    height_m
        Topography in metres.
    resonance_shift_Hz
        Shift of the contact resonance from its nominal value in hertz.
    written
        Mask of the c domains written by a bias; None before the first.
    """

    config: SurfaceConfig
    state: Int8[np.ndarray, "rows cols"]
    kind: Int8[np.ndarray, "rows cols"]
    superdomain: Int16[np.ndarray, "rows cols"]
    response: Float32[np.ndarray, "rows cols"]
    height_m: Float32[np.ndarray, "rows cols"]
    resonance_shift_Hz: Float32[np.ndarray, "rows cols"]
    written: Bool[np.ndarray, "rows cols"] | None = None

    def grid(self, xy_m: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Fractional grid coordinates (row, col) of stage positions (x, y), mirrored into the square."""
        last = self.config.pixels - 1
        folded = np.mod(self.config.square.to_pixels(xy_m), 2 * last)
        return np.asarray(np.minimum(folded, 2 * last - folded))

    def truth_at(self, xy_m: Float[np.ndarray, "n 2"]) -> Truth:
        """Truth at the stage positions (x, y), which must be true positions (after drift), not commanded ones."""
        rc = self.grid(xy_m)
        row, col = np.rint(rc).astype(int).T
        distance_px, wall = self._nearest_walls(rc)
        return Truth(self.state[row, col], wall, distance_px * self.config.pitch_m, self.kind[row, col])

    def composition_at(self, xy_m: Float[np.ndarray, "n 2"], window_m: float) -> Float[np.ndarray, "n types"]:
        """Share of each wall type (in the order of `WALL_TYPES`) among the wall pixels in windows of side `window_m`.

        All shares are 0 if a window has no wall.
        """
        half = max(1, round(window_m / 2 / self.config.pitch_m))
        shares = np.zeros((len(xy_m), len(WALL_TYPES)))
        for own, (row, col) in zip(shares, np.rint(self.grid(xy_m)).astype(int), strict=True):
            window = self.walls[max(row - half, 0) : row + half + 1, max(col - half, 0) : col + half + 1]
            counts = np.bincount(window.ravel(), minlength=len(WALL_TYPES) + 1)[1:]
            own[:] = counts / max(counts.sum(), 1)
        return shares

    def microstructure_at(self, xy_m: Float[np.ndarray, "n 2"], window_m: float) -> Float[np.ndarray, "n coarse"]:
        """Like `composition_at`, for the coarse types, in the order of `MICROSTRUCTURES`."""
        return coarse_shares(self.composition_at(xy_m, window_m))

    def with_spot(self, x_m: float, y_m: float, radius_m: float, state: DomainState) -> "Surface":
        """New surface on which a bias has written a round c domain of `state` around (x, y).

        Earlier walls inside are gone; the rim is a 180° c-c wall except where the surroundings have the same state.
        """
        near, rows, cols = self._grid_around(x_m, y_m, radius_m)
        return self._after_writing(near, rows**2 + cols**2 < (radius_m / self.config.pitch_m) ** 2, state)

    def with_box(self, x_m: float, y_m: float, side_m: float, state: DomainState) -> "Surface":
        """New surface on which a scan under bias has written a square c domain of `state` around (x, y)."""
        half_px = side_m / 2 / self.config.pitch_m
        near, rows, cols = self._grid_around(x_m, y_m, side_m / 2)
        return self._after_writing(near, (np.abs(rows) <= half_px) & (np.abs(cols) <= half_px), state)

    @cached_property
    def walls(self) -> Int8[np.ndarray, "rows cols"]:
        """`WallType` of each grid point; walls are one grid point wide."""
        return mark_walls(self.state, self.kind, self.superdomain, self.written)

    def _nearest_walls(self, rc: Float[np.ndarray, "n 2"]) -> tuple[Float[np.ndarray, " n"], Int8[np.ndarray, " n"]]:
        """(distance in grid points, `WallType`) of the wall nearest to each position."""
        if len(rc) == 1:  # every loop changes the walls, and a local search is faster than building a tree of all of them
            low = np.maximum(np.rint(rc[0]).astype(int) - _NEARBY_PX, 0)
            around = self.walls[low[0] : low[0] + 2 * _NEARBY_PX + 1, low[1] : low[1] + 2 * _NEARBY_PX + 1]
            pixels = np.argwhere(around != WallType.NONE)
            distance_px = np.hypot(*(pixels + low - rc[0]).T)
            if distance_px.min(initial=np.inf) < _NEARBY_PX - 1:
                nearest = int(distance_px.argmin())
                return distance_px[[nearest]], around[tuple(pixels[[nearest]].T)]
        distance_px, nearest = self._wall_tree.query(rc)
        found = np.isfinite(distance_px)
        wall = np.full(len(rc), WallType.NONE, np.int8)
        wall[found] = self.walls[tuple(self._wall_pixels[nearest[found]].T)]
        return distance_px, wall

    @cached_property
    def _wall_pixels(self) -> np.ndarray:
        return np.argwhere(self.walls != WallType.NONE)

    @cached_property
    def _wall_tree(self) -> cKDTree:
        return cKDTree(self._wall_pixels.reshape(-1, 2))

    def _after_writing(self, near: tuple[slice, slice], inside: Bool[np.ndarray, "rows cols"], state: DomainState) -> "Surface":
        """New surface with a c domain where the mask `inside` is true, within the part `near` of the grid."""
        sign = 1.0 if state is DomainState.C_PLUS else -self.config.c_minus_response
        after, response, walls = self.state.copy(), self.response.copy(), self.walls.copy()
        written = np.zeros_like(after, bool) if self.written is None else self.written.copy()
        after[near][inside] = state
        written[near][inside] = True
        response[near][inside] = sign * float(np.median(np.abs(self.response[::_SPARSE, ::_SPARSE])))
        marked = mark_walls(after[near], self.kind[near], self.superdomain[near], written[near])
        walls[near][1:-1, 1:-1] = marked[1:-1, 1:-1]
        surface = replace(self, state=after, response=response, written=written)
        vars(surface)["walls"] = walls  # walls further away are unchanged
        return surface

    def _grid_around(self, x_m: float, y_m: float, reach_m: float) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
        """(slices of the grid within `reach_m` of (x, y) plus two points, distances along rows (n, 1), along columns (1, n))."""
        centre, reach_px = self.grid(np.array([[x_m, y_m]]))[0], reach_m / self.config.pitch_m
        low = np.maximum(np.floor(centre - reach_px).astype(int) - 2, 0)
        high = np.minimum(np.ceil(centre + reach_px).astype(int) + 3, self.config.pixels)
        row, col = (np.arange(low[axis], high[axis]) - centre[axis] for axis in (0, 1))
        return (slice(low[0], high[0]), slice(low[1], high[1])), row[:, None], col[None, :]
