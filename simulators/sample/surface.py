"""A surface with known domains: what the simulated tip meets, and the sealed truth about it."""

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
_SPARSE = 4  # every fourth grid point tells the usual response as well as all do
_NEARBY_PX = 64


def _kind(given: Any) -> Any:
    """The kind of a name such as "needles", as it stands in a file; anything else is left to be validated."""
    return SuperdomainKind.__members__.get(given.upper(), given) if isinstance(given, str) else given


_NamedKind = Annotated[
    SuperdomainKind, BeforeValidator(_kind), PlainSerializer(lambda kind: kind.name.lower(), return_type=str, when_used="json")
]


class SurfaceConfig(Settings):
    """What a surface looks like; the defaults give well separated types, the "easy" tier.

    Parameters
    ----------
    size_m, pixels
        Side of the square and how many grid points it has; the pitch is size / (pixels - 1).
    centre_x_m, centre_y_m
        Where the square's centre lies, in metres of the stage.
    superdomain_m
        Typical side of a superdomain.
    interspersed_m
        Typical side of the cells that superdomains are divided into, each with a kind of its own; with 0 each superdomain is of
        one kind.
    needle_share, stripe_share, herringbone_share, sparse_share
        Shares of the area, relative to one another.
    stripes, needles, herringbone
        The patterns.
    disorder
        0 gives perfect lattices, 1 very irregular ones.
    c_minus_share, c_minus_length_m, c_minus_bubbles, c_minus_kinds
        Share of the superdomains of `c_minus_kinds` that points down, its correlation length, and the strength of small
        bubbles.
    c_minus_response
        Magnitude of the response of c- relative to c+.
    a_response, a_buckling
        Response of a domains relative to c+, and the part of it that alternates between lamellae.
    contrast_spread, gain_spread, gain_slope, texture
        Standard deviations of the gain between superdomains, over long distances (log, spectrum k^-slope) and at 28 nm (log).
    boundary_width_m, boundary_response
        Width and relative response of superdomain boundaries.
    shuffled
        Whether all patterns are destroyed, so that only the distribution and the spectrum of the response remain.
    wall_shading, wall_shading_m
        Standard deviation of the log gain by which inclined walls of a domains respond more on one side of a lamella than on
        the other, and how far that reaches.
    fine_texture
        As `texture`, at 11 nm.
    bright_spots
        Strength of rare, bright spots of 22 nm.
    nested_depth, nested_period_m
        Relative depth and period of lamellae nested within the domains, across the crystal's tilt and in patches; too fine
        for the truth to count them as walls.
    relief_m
        Standard deviation of the hills and valleys of film and substrate, which leave the response alone.
    written_boxes, written_box_m
        Mean number of rectangles in which an earlier experiment turned the out-of-plane polarisation, and their typical side.
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
    def _can_be_grown(self) -> "SurfaceConfig":
        if not 64 <= self.pixels <= 4096:
            raise ValueError(f"a surface of {self.pixels} pixels a side was asked for; 64 to 4096 are allowed")
        if sum(self.shares.values()) == 0:
            raise ValueError("all shares of superdomain kinds are 0; give at least one of them a positive share")
        low_m = _CELL_MIN_PX * self.pitch_m
        if self.interspersed_m > 0 and not low_m <= self.interspersed_m <= self.superdomain_m:
            raise ValueError(
                f"kinds in cells of {self.interspersed_m * 1e9:g} nm were asked for; {low_m * 1e9:.3g} nm ({_CELL_MIN_PX} grid "
                f"points) to {self.superdomain_m * 1e9:g} nm (a superdomain) are allowed, or 0 for one kind a superdomain"
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
        """The square as a frame, which turns stage metres into grid points."""
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
    """A sample at one moment. Arrays are [row = y, col = x], ascending; beyond its border it goes on as its mirror image.

    Parameters
    ----------
    config
        What it was grown from.
    state, kind
        `DomainState` and `SuperdomainKind` of each grid point.
    superdomain
        Number of the superdomain.
    response
        Signed vertical electromechanical response, about ±1 on c domains.
    height_m
        Topography in metres.
    resonance_shift_Hz
        By how much the contact resonance differs from the cantilever's nominal one.
    written
        Where a bias wrote c domains; None before the first.
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
        """What really lies at the stage positions (x, y); give true positions, after drift, not commanded ones."""
        rc = self.grid(xy_m)
        row, col = np.rint(rc).astype(int).T
        distance_px, wall = self._nearest_walls(rc)
        return Truth(self.state[row, col], wall, distance_px * self.config.pitch_m, self.kind[row, col])

    def composition_at(self, xy_m: Float[np.ndarray, "n 2"], window_m: float) -> Float[np.ndarray, "n types"]:
        """Share of each wall type (in the order of `WALL_TYPES`) among the wall pixels of a window of side `window_m`.

        Zeros where the window holds no wall.
        """
        half = max(1, round(window_m / 2 / self.config.pitch_m))
        shares = np.zeros((len(xy_m), len(WALL_TYPES)))
        for own, (row, col) in zip(shares, np.rint(self.grid(xy_m)).astype(int), strict=True):
            window = self.walls[max(row - half, 0) : row + half + 1, max(col - half, 0) : col + half + 1]
            counts = np.bincount(window.ravel(), minlength=len(WALL_TYPES) + 1)[1:]
            own[:] = counts / max(counts.sum(), 1)
        return shares

    def microstructure_at(self, xy_m: Float[np.ndarray, "n 2"], window_m: float) -> Float[np.ndarray, "n coarse"]:
        """As `composition_at`, of the coarse types, in the order of `MICROSTRUCTURES`."""
        return coarse_shares(self.composition_at(xy_m, window_m))

    def with_spot(self, x_m: float, y_m: float, radius_m: float, state: DomainState) -> "Surface":
        """The surface after a bias wrote a round c domain of `state` around (x, y); this one is left as it was.

        What lay there has left no wall; the domain's rim is a 180° c-c wall, but for where the surroundings have its state.
        """
        near, rows, cols = self._grid_around(x_m, y_m, radius_m)
        return self._after_writing(near, rows**2 + cols**2 < (radius_m / self.config.pitch_m) ** 2, state)

    def with_box(self, x_m: float, y_m: float, side_m: float, state: DomainState) -> "Surface":
        """The surface after a scan under bias wrote a square c domain of `state` around (x, y); this one is left as it was."""
        half_px = side_m / 2 / self.config.pitch_m
        near, rows, cols = self._grid_around(x_m, y_m, side_m / 2)
        return self._after_writing(near, (np.abs(rows) <= half_px) & (np.abs(cols) <= half_px), state)

    @cached_property
    def walls(self) -> Int8[np.ndarray, "rows cols"]:
        """`WallType` of each grid point; walls are one grid point wide."""
        return mark_walls(self.state, self.kind, self.superdomain, self.written)

    def _nearest_walls(self, rc: Float[np.ndarray, "n 2"]) -> tuple[Float[np.ndarray, " n"], Int8[np.ndarray, " n"]]:
        """(distance in grid points, `WallType`) of the wall nearest to each place."""
        if len(rc) == 1:  # after each loop the walls are others, and a tree of all of them is slower than a look around
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
        """The surface with a c domain where `inside` is true, within the part `near` of the grid."""
        sign = 1.0 if state is DomainState.C_PLUS else -self.config.c_minus_response
        after, response, walls = self.state.copy(), self.response.copy(), self.walls.copy()
        written = np.zeros_like(after, bool) if self.written is None else self.written.copy()
        after[near][inside] = state
        written[near][inside] = True
        response[near][inside] = sign * float(np.median(np.abs(self.response[::_SPARSE, ::_SPARSE])))
        marked = mark_walls(after[near], self.kind[near], self.superdomain[near], written[near])
        walls[near][1:-1, 1:-1] = marked[1:-1, 1:-1]
        surface = replace(self, state=after, response=response, written=written)
        vars(surface)["walls"] = walls  # those further away stay what they were
        return surface

    def _grid_around(self, x_m: float, y_m: float, reach_m: float) -> tuple[tuple[slice, slice], np.ndarray, np.ndarray]:
        """(a part of the grid that reaches so far from (x, y), and two points further; its points' distances along rows, as
        (n, 1), and along columns, as (1, n)).
        """
        centre, reach_px = self.grid(np.array([[x_m, y_m]]))[0], reach_m / self.config.pitch_m
        low = np.maximum(np.floor(centre - reach_px).astype(int) - 2, 0)
        high = np.minimum(np.ceil(centre + reach_px).astype(int) + 3, self.config.pixels)
        row, col = (np.arange(low[axis], high[axis]) - centre[axis] for axis in (0, 1))
        return (slice(low[0], high[0]), slice(low[1], high[1])), row[:, None], col[None, :]
