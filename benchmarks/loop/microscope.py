"""A simulated microscope that measures loops one after the other, and the walls that they truly hit."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from agent.schema.measurements import MeasuredOnSample, Result
from instrument_adapters.errors import InstrumentFaultError, LimitError
from instrument_adapters.protocol.messages import Limits, MeasurementRequest
from instrument_adapters.scan import Scan
from simulators.clock import EPOCH, SimulatedClock
from simulators.config import MFP3DConfig, TimingConfig
from simulators.mfp3d import SimulatedMFP3D
from simulators.physics.dart import DartRecording
from simulators.sample.domains import WALL_TYPES, WallType
from simulators.sample.growth import grow_surface
from simulators.sample.surface import Surface
from simulators.tiers import tier

NEAR_M = 15e-9
HITS = 5
_TIMING = TimingConfig(loop_s=9.5)  # with commands and a tenth of a tuning, 12 s for each loop


class Visit(NamedTuple):
    """One loop: commanded and true position, time, type of the wall it hit (or `NONE`), and parameters (empty if it failed)."""

    xy_m: tuple[float, float]
    true_m: tuple[float, float]
    at_s: float
    hit: int
    values: dict[str, float]


@dataclass(frozen=True, eq=False)
class Sample:
    """A world before any measurement, from which all policies start.

    Parameters
    ----------
    config
        Configuration of the instrument.
    surface
        The unchanged surface.
    """

    config: MFP3DConfig
    surface: Surface

    @classmethod
    def grown(cls, name: str, seed: int, cap: int) -> "Sample":
        """World `seed` of the tier `name`. Up to `cap` loops may follow a scan; computing time is added by the policies."""
        config = tier(name, seed)
        limits = Limits(points_max=cap)
        config = config.model_copy(update={"charge_latency": False, "timing": _TIMING, "limits": limits})
        (grown,) = np.random.SeedSequence(config.seed).spawn(1)
        return cls(config, grow_surface(config.surface, np.random.default_rng(grown)))

    @cached_property
    def wall_xy(self) -> dict[int, Float[np.ndarray, "n 2"]]:
        """Wall type -> points (x, y) on its walls inside the frame."""
        rc = np.argwhere(self.surface.walls != WallType.NONE)
        xy = self.surface.config.square.to_metres(rc.astype(float))
        inside = self.config.frame.contains(xy)
        types = self.surface.walls[tuple(rc[inside].T)]
        return {int(wall): xy[inside][types == wall] for wall in WALL_TYPES}

    @cached_property
    def types(self) -> tuple[int, ...]:
        """Wall types that can be hit five times: their walls in the frame have five points at least one loop spacing apart."""
        spacing_m = self.config.limits.spacing_min_m
        return tuple(wall for wall, xy in self.wall_xy.items() if _apart(xy, spacing_m, HITS) >= HITS)


@dataclass(eq=False)
class Bench:
    """An instrument on a sample, with the scans and loops so far.

    Parameters
    ----------
    sample
        Sample before any measurement.
    visits
        Loops so far.
    """

    sample: Sample
    visits: list[Visit] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.instrument = SimulatedMFP3D(self.sample.config, clock=SimulatedClock(None), surface=self.sample.surface)
        self.scan = self.instrument.scan()
        assert self.instrument.last_recording is not None
        self.first: tuple[Scan, DartRecording] = (self.scan, self.instrument.last_recording)

    def rescan(self) -> Scan:
        """Record the next frame; simulated time passes and the sample drifts."""
        self.scan = self.instrument.scan()
        return self.scan

    def measure(self, x_m: float, y_m: float) -> bool:
        """Measure a loop at the commanded position; False if the instrument refused it before moving."""
        number = f"{len(self.visits):03d}"
        request = MeasurementRequest(request_id=number, x_m=x_m, y_m=y_m, row=0, col=0, cluster=0, rank=0, core_distance=0.0)
        try:
            values = dict(self.instrument.measure(request).parameters)
        except LimitError:
            return False
        except InstrumentFaultError:
            values = {}
        true_m = self.instrument.last_loop_m
        assert true_m is not None
        self.visits.append(Visit((x_m, y_m), true_m, self.instrument.clock.elapsed_s, self._hit(true_m), values))
        return True

    @property
    def measured_xy(self) -> Float[np.ndarray, "n 2"]:
        """Commanded positions of the loops."""
        return np.array([one.xy_m for one in self.visits]).reshape(-1, 2)

    @property
    def results(self) -> MeasuredOnSample:
        """Results of the loops, as the agent receives them."""
        times = self.measured_s
        return MeasuredOnSample.of(
            [
                Result("ok" if v.values else "failed", v.xy_m, v.values, float(at))
                for v, at in zip(self.visits, times, strict=True)
            ]
        )

    @property
    def measured_s(self) -> Float[np.ndarray, " n"]:
        """End of each loop by the instrument's clock, in POSIX seconds."""
        return np.array([EPOCH.timestamp() + one.at_s for one in self.visits])

    def hits(self, first: int | None = None) -> Int[np.ndarray, " types"]:
        """Number of hits of each type of the sample among the first `first` loops (all by default)."""
        hit = np.array([one.hit for one in self.visits[:first]], int)
        return np.bincount(hit, minlength=max(WallType) + 1)[list(self.sample.types)]

    def _hit(self, true_m: tuple[float, float]) -> int:
        """Type of the wall within 15 nm, or `NONE` if an earlier loop has written a spot there."""
        before = np.array([one.true_m for one in self.visits]).reshape(-1, 2)
        written = np.hypot(*(before - true_m).T) < self.sample.config.spectroscopy.spot_m
        truth = self.sample.surface.truth_at(np.array([true_m]))
        return int(truth.wall[0]) if truth.distance_m[0] <= NEAR_M and not written.any() else int(WallType.NONE)


def loops_needed(hits: Sequence[int], types: Sequence[int], least: int = HITS) -> int | None:
    """Number of loops after which every type has been hit `least` times; None if there were too few loops."""
    left = dict.fromkeys(types, least)
    for number, hit in enumerate(hits, start=1):
        if hit in left:
            left[hit] -= 1
            if max(left.values()) <= 0:
                return number
    return None


def _apart(xy: Float[np.ndarray, "n 2"], spacing_m: float, most: int) -> int:
    """Number of points, up to `most`, that a greedy choice finds at least `spacing_m` apart."""
    count = 0
    while len(xy) and count < most:
        xy = xy[np.hypot(*(xy - xy[0]).T) >= spacing_m]
        count += 1
    return count
