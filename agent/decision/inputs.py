"""Inputs of a decision and controls of its search, one object each, used alike in a live run and in a replay."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from jaxtyping import Float

from agent.preprocessing.drift import DriftTrack, to_scan_coordinates
from agent.schema.decision import Decision
from agent.schema.measurements import NO_RESULTS, MeasuredOnSample
from agent.search.task_runner import Progress, never, no_progress
from agent.search.warm_start import WarmStart
from instrument_adapters.protocol.messages import Limits
from instrument_adapters.scan import Scan

NOWHERE: Float[np.ndarray, "0 2"] = np.empty((0, 2))


@dataclass(frozen=True, eq=False)
class DecisionInputs:
    """All that a decision depends on, apart from the configuration.

    Parameters
    ----------
    scan
        The new scan.
    limits
        Limits of the instrument that recorded it.
    measured_xy
        Shape (k, 2): positions measured earlier on this sample, in metres.
    measured_s
        Shape (k,): POSIX times of these measurements in seconds; NaN or None where they are not known.
    results
        Results of the measurements, against which candidates are tested. They may come from decisions that chose other clusters:
        only position and value count.
    previous
        Last decision on this sample with its arrays; training starts from its weights where that is as good as a cold start.
    earlier
        Scan of the last decision; its registration with `scan` gives the drift.
    start
        Weights from which training starts in place of those of `previous`.
    """

    scan: Scan
    limits: Limits = Limits()
    measured_xy: Float[np.ndarray, "k 2"] = field(default_factory=lambda: NOWHERE)
    measured_s: Float[np.ndarray, " k"] | None = None
    results: MeasuredOnSample = NO_RESULTS
    previous: Decision | None = None
    earlier: Scan | None = None
    start: WarmStart | None = None

    def in_scan_coordinates(self, track: DriftTrack) -> "DecisionInputs":
        """The same inputs with all measured positions moved by the drift between their measurement and the scan."""
        if not track.known:
            return self
        times = np.full(len(self.measured_xy), np.nan) if self.measured_s is None else self.measured_s
        results = replace(self.results, xy_m=to_scan_coordinates(track, self.scan, self.results.xy_m, self.results.at_s))
        return replace(self, measured_xy=to_scan_coordinates(track, self.scan, self.measured_xy, times), results=results)


@dataclass(frozen=True, eq=False)
class SearchControl:
    """Conditions that end a search early, and callbacks that report its progress.

    Parameters
    ----------
    cancelled
        Polled about ten times a second; once true, the search is discarded.
    out_of_time
        Polled likewise; once true, the decision is taken from the last complete rung. None: no deadline.
    progress
        Called with (stage, done, total).
    on_rung
        Called with the decision that each complete rung would lead to, the last one included.
    """

    cancelled: Callable[[], bool] = never
    out_of_time: Callable[[], bool] | None = None
    progress: Progress = no_progress
    on_rung: Callable[[Decision], None] | None = None


UNCONTROLLED = SearchControl()
