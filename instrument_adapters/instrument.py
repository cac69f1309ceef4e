"""What an instrument must be able to do, and the limits that are checked before it is asked to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, runtime_checkable

import numpy as np

from instrument_adapters.errors import LimitError
from instrument_adapters.protocol.live_lines import Lines
from instrument_adapters.protocol.messages import Limits, MeasurementRequest, RecommendationMessage
from instrument_adapters.scan import Scan


@dataclass(frozen=True, eq=False)
class Measurement:
    """What a measurement at one point gave.

    Parameters
    ----------
    x_m, y_m
        Where the instrument says it measured, in metres.
    measured_at
        When, by the instrument's clock.
    arrays
        Raw curves of one shape, by name with unit (a loop: `bias_V` and `response`).
    parameters
        Numbers drawn from the curves, names with units (`coercive_plus_V`).
    remark
        One sentence on how it was measured, for a person; it becomes the result's `reason`.
    """

    x_m: float
    y_m: float
    measured_at: datetime
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    parameters: Mapping[str, float] = field(default_factory=dict)
    remark: str = ""


class Instrument(Protocol):
    """A microscope as the client sees it.

    The client calls `scan`, sends what it returns, and calls `measure` for each recommended point in order, always from the
    same one worker thread, so an instrument need not be thread-safe. Both calls may block for as long as the real thing takes.
    """

    @property
    def instrument_id(self) -> str:
        """Name of this instrument, the same at every start."""

    @property
    def model(self) -> str:
        """Make and model, for the history."""

    @property
    def limits(self) -> Limits:
        """What it is allowed to do."""

    def scan(self) -> Scan:
        """Record one frame and return it.

        Raises
        ------
        InstrumentFaultError
            If the frame could not be recorded.
        """

    def measure(self, request: MeasurementRequest) -> Measurement:
        """Go to the point and measure there.

        Raises
        ------
        LimitError
            If the instrument refuses the point; nothing was moved.
        InstrumentFaultError
            If the measurement was begun and failed.
        """

    def close(self) -> None:
        """Leave the instrument in a safe state; called once, also after an error."""


@runtime_checkable
class Streaming(Protocol):
    """What an `Instrument` may offer besides, to be seen at work: a scan told of while it is recorded.

    The client then calls `scan_in_lines` in place of `scan`. What is told is for watching only: it may be lost, and the scan that
    is returned holds everything.
    """

    def scan_in_lines(self, on_lines: Callable[[Lines], None]) -> Scan:
        """As `scan`; `on_lines` is called with each line or few, in the order of recording, and returns at once."""


@runtime_checkable
class Planning(Protocol):
    """What an `Instrument` may offer besides, to see all points of a recommendation before the first is measured."""

    def plan(self, recommendation: RecommendationMessage) -> None:
        """Called once before the points of a recommendation are carried out, and after a restart again with what is left."""


@runtime_checkable
class Halting(Protocol):
    """What an `Instrument` may offer besides: an emergency stop after which it can go on.

    Without it the client closes the instrument at an emergency stop, and ends.
    """

    def halt(self) -> None:
        """End what is under way at once and leave the instrument in a safe state; called from another thread, at any time.

        The call of `scan` or `measure` under way ends with `InstrumentFaultError`, and so does every later one, until `release`:
        a call that is just about to begin must not slip through. Halting again does no harm.

        Raises
        ------
        AdapterError
            If that cannot be done; the client then closes the instrument.
        """

    def release(self) -> None:
        """Let the instrument work again; called when a person has said so, between calls."""


@runtime_checkable
class Telling(Protocol):
    """What an `Instrument` may offer besides: to say what goes wrong and shows in no scan and no result, for the agent's history.

    A file that nobody can read is such a thing.
    """

    def tell_troubles(self, tell: Callable[[str, str], None]) -> None:
        """Keep `tell`, and call it from now on, from any thread, with a short name and a sentence; it returns at once."""


@runtime_checkable
class Timed(Protocol):
    """What an `Instrument` with a clock of its own offers besides; of others the computer's clock counts.

    By this clock a recommendation expires and a scan grows old, so it is the one that `Scan.finished_at` is told by.
    """

    def now(self) -> datetime:
        """Time by the instrument's clock, with its zone; called from any thread."""


@runtime_checkable
class Biasing(Protocol):
    """What an `Instrument` offers besides that knows which bias its measurements apply."""

    @property
    def bias_V(self) -> float:
        """Largest magnitude of the bias of its next measurement, in volts."""


def check_request(request: MeasurementRequest, limits: Limits) -> None:
    """Refuse a point outside the stage's range.

    Raises
    ------
    LimitError
        Naming the coordinate, its value and the allowed range.
    """
    for axis, value, low, high in (
        ("x", request.x_m, limits.x_min_m, limits.x_max_m),
        ("y", request.y_m, limits.y_min_m, limits.y_max_m),
    ):
        if not low <= value <= high:
            raise LimitError(
                f"{axis} = {value * 1e6:.3f} um is outside the stage's range {low * 1e6:.1f} to {high * 1e6:.1f} um; "
                "the point was not measured"
            )
