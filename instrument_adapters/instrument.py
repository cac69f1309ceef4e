"""Interface of an instrument: the required methods, the optional ones, and the check of its stage range."""

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
    """Outcome of a measurement at one point.

    Parameters
    ----------
    x_m, y_m
        Position in metres at which the instrument reports to have measured.
    measured_at
        Time of the measurement by the instrument's clock.
    arrays
        Raw curves of one shape, by name with unit (for a loop `bias_V` and `response`).
    parameters
        Numbers computed from the curves, by name with unit (`coercive_plus_V`).
    remark
        One sentence for people on how it was measured; it becomes the result's `reason`.
    """

    x_m: float
    y_m: float
    measured_at: datetime
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    parameters: Mapping[str, float] = field(default_factory=dict)
    remark: str = ""


class Instrument(Protocol):
    """A microscope as the client sees it.

    The client calls `scan`, sends the scan to the agent, and calls `measure` for each recommended point in order. All calls come
    from one worker thread, so an instrument need not be thread-safe. Both calls may block as long as the instrument needs.
    """

    @property
    def instrument_id(self) -> str:
        """Name of this instrument, the same at every start."""

    @property
    def model(self) -> str:
        """Make and model, for the history."""

    @property
    def limits(self) -> Limits:
        """Limits of the stage, the bias and the dose."""

    def scan(self) -> Scan:
        """Record one frame and return it as a scan.

        Raises
        ------
        InstrumentFaultError
            If the frame could not be recorded.
        """

    def measure(self, request: MeasurementRequest) -> Measurement:
        """Move the tip to the point and measure there.

        Raises
        ------
        LimitError
            If the instrument refuses the point without having moved.
        InstrumentFaultError
            If the measurement was begun but failed.
        """

    def close(self) -> None:
        """Leave the instrument in a safe state; called once, also after an error."""


@runtime_checkable
class Streaming(Protocol):
    """Optional interface of an `Instrument` that passes on the lines of a scan while it records them.

    The client then calls `scan_in_lines` in place of `scan`. The lines are for display only and may be lost; the returned scan
    holds all of them.
    """

    def scan_in_lines(self, on_lines: Callable[[Lines], None]) -> Scan:
        """As `scan`; calls `on_lines`, which returns at once, with one or a few new lines at a time in the order of recording."""


@runtime_checkable
class Planning(Protocol):
    """Optional interface of an `Instrument` that wants all points of a recommendation before the first is measured."""

    def plan(self, recommendation: RecommendationMessage) -> None:
        """Called once before the points of a recommendation are measured, and after a restart with the points that are left."""


@runtime_checkable
class Halting(Protocol):
    """Optional interface of an `Instrument` that can be halted and released again.

    Without it, the client closes the instrument at an emergency stop, and ends.
    """

    def halt(self) -> None:
        """Abort the call in progress at once and leave the instrument in a safe state; called from another thread, at any time.

        The call of `scan` or `measure` in progress ends with `InstrumentFaultError`, and so does every later call until
        `release`, including one that is just about to begin. Halting twice is harmless.

        Raises
        ------
        AdapterError
            If the instrument cannot be halted; the client then closes it.
        """

    def release(self) -> None:
        """Allow calls again; called between calls, when an operator has resumed or paused the instrument."""


@runtime_checkable
class Telling(Protocol):
    """Optional interface of an `Instrument` that reports faults which neither a scan nor a result shows.

    An unreadable file is an example. The agent records such faults in its history.
    """

    def tell_troubles(self, tell: Callable[[str, str], None]) -> None:
        """Keep `tell`, and call it for each fault with a short name and a sentence.

        It may be called from any thread, and returns at once.
        """


@runtime_checkable
class Timed(Protocol):
    """Optional interface of an `Instrument` with its own clock; for others the computer's clock is used.

    The age of scans and the expiry of recommendations are measured by this clock, so `Scan.finished_at` must use it as well.
    """

    def now(self) -> datetime:
        """Time by the instrument's clock, with its zone; called from any thread."""


@runtime_checkable
class Biasing(Protocol):
    """Optional interface of an `Instrument` that knows which bias its measurements apply."""

    @property
    def bias_V(self) -> float:
        """Largest magnitude in volts of the bias that the next measurement applies."""


def check_request(request: MeasurementRequest, limits: Limits) -> None:
    """Refuse a point outside the stage's range.

    Raises
    ------
    LimitError
        If it is outside; the message names the coordinate, its value and the allowed range.
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
