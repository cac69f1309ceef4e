"""A watched folder as an instrument: its scans are the files that appear there, and an operator performs the measurements.

Any microscope that saves files can be used in this way, with no connection to its controller. Recommended points are written to
an outbox (`outbox.py`). Results may come back through an inbox (`inbox.py`); without one, each request is answered `skipped`.
Nothing is ever written to the watched folder.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from pathlib import Path

import numpy as np

from instrument_adapters.errors import AdapterError, InstrumentFaultError, LimitError
from instrument_adapters.folder.inbox import Inbox, ReturnedResult
from instrument_adapters.folder.naming import sample_name
from instrument_adapters.folder.outbox import Outbox
from instrument_adapters.folder.watcher import FolderWatch, WatchSettings
from instrument_adapters.instrument import Measurement, check_request
from instrument_adapters.protocol.messages import Limits, MeasurementRequest, RecommendationMessage
from instrument_adapters.scan import Scan

_LOG = logging.getLogger(__name__)
_RECENT_SCANS_MAX = 8  # scans whose frames are kept, to convert the positions of their points


@dataclass(frozen=True)
class FolderSettings:
    """Settings of a watched folder as an instrument.

    Parameters
    ----------
    folder
        Path of the folder in which scans appear.
    instrument_id, model
        Name and model announced to the agent.
    limits
        Limits of the points that the agent may request.
    zone
        Time zone of the instrument's clock, which its files do not state.
    watch
        Settings of the watcher.
    poll_s
        Time between looks at folder and inbox, in seconds.
    wait_results_s
        Time to wait for the results of a recommendation after its points were written, in seconds; 0: do not wait.
    sample_id, sample_key
        Name of the sample; without one, the note's value of this key, then the subfolder's name, then "sample".
    """

    folder: Path
    zone: tzinfo
    instrument_id: str = "folder"
    model: str = "Watched folder"
    limits: Limits = Limits()
    watch: WatchSettings = field(default_factory=WatchSettings)
    poll_s: float = 0.5
    wait_results_s: float = 0.0
    sample_id: str | None = None
    sample_key: str | None = None


class WatchedFolder:
    """An `Instrument` made of a folder and an operator; also `Planning`, `Halting` and `Telling`.

    Parameters
    ----------
    settings
        Settings of the folder.
    outbox, inbox
        Folders to which points are written and from which results are read.
    pause
        Waits the given seconds; returns true if `close` ended the wait.
    close
        Ends all waits; may be called from any thread.
    wall
        Monotonic clock: seconds from any origin.
    clock
        Wall-clock time with its zone.
    """

    def __init__(
        self,
        settings: FolderSettings,
        outbox: Outbox,
        inbox: Inbox,
        *,
        pause: Callable[[float], bool],
        close: Callable[[], None],
        wall: Callable[[], float],
        clock: Callable[[], datetime],
    ) -> None:
        self._settings, self._outbox, self._inbox = settings, outbox, inbox
        self._pause, self._close, self._wall, self._clock = pause, close, wall, clock
        self._watch = FolderWatch(settings.folder, settings.watch, settings.zone, wall, lambda: pause(0.0))
        self._recent_scans: dict[str, Scan] = {}
        self._plan_error = ""
        self._table: Path | None = None
        self._deadline_s = 0.0
        self._expires_at: datetime | None = None
        self._halted = False

    def tell_troubles(self, tell: Callable[[str, str], None]) -> None:
        """Report problems with files through `tell` instead of the log."""
        self._watch.report_problem = self._inbox.report_problem = tell

    @property
    def instrument_id(self) -> str:
        """Name of this instrument."""
        return self._settings.instrument_id

    @property
    def model(self) -> str:
        """Model announced to the agent."""
        return self._settings.model

    @property
    def limits(self) -> Limits:
        """Limits of the points that the agent may request."""
        return self._settings.limits

    def scan(self) -> Scan:
        """The next complete scan; waits for it without a deadline, also while the folder is unavailable.

        Raises
        ------
        InstrumentFaultError
            If the instrument was closed or halted before or during the wait.
        """
        while not self._pause(0.0):
            self._raise_if_halted()
            self._watch.poll()
            found = self._watch.next_scan()
            if found is not None:
                path, scan = found
                _LOG.info("read scan %s from %s", scan.scan_id, path)
                return self._remember(replace(scan, sample_id=self._sample(path, scan)))
            self._pause(self._settings.poll_s)
        raise InstrumentFaultError("the folder is no longer watched; start the adapter again to continue")

    def plan(self, recommendation: RecommendationMessage) -> None:
        """Write the points to the outbox for the operator."""
        self._deadline_s = self._wall() + self._settings.wait_results_s
        self._expires_at = recommendation.expires_at
        self._plan_error, self._table = "", None
        self._inbox.expect([request.request_id for request in recommendation.requests])
        if not recommendation.requests:
            return
        try:
            self._table = self._outbox.write(recommendation, self._recent_scans.get(recommendation.scan_id))
        except AdapterError as error:
            self._plan_error = str(error)
            _LOG.error("%s", error)
        else:
            _LOG.info(
                "wrote %d points to %s; results are read from %s", len(recommendation.requests), self._table, self._inbox.folder
            )

    def measure(self, request: MeasurementRequest) -> Measurement:
        """The operator's measurement at the point.

        Raises
        ------
        LimitError
            If no result came in time, or the operator skipped the point.
        InstrumentFaultError
            If the operator reported a failure, or the adapter was closed or halted during the wait.
        """
        check_request(request, self.limits)
        if self._plan_error:
            raise LimitError(self._plan_error)
        result = self._wait_for_result(request.request_id)
        if result.status == "skipped":
            raise LimitError(result.reason or "the operator skipped this point and gave no reason")
        if result.status == "failed":
            raise InstrumentFaultError(result.reason or "the operator reported that this point failed and gave no reason")
        return Measurement(
            x_m=request.x_m if result.x_m is None else result.x_m,
            y_m=request.y_m if result.y_m is None else result.y_m,
            measured_at=result.measured_at or self._clock(),
            arrays=result.arrays,
            parameters=result.parameters,
            remark=result.reason,
        )

    def halt(self) -> None:
        """End the wait under way within half a second; no hardware is involved, so nothing else has to be stopped."""
        self._halted = True

    def release(self) -> None:
        """Allow waits for scans and results again."""
        self._halted = False

    def close(self) -> None:
        """End every wait, from any thread."""
        self._close()

    def _raise_if_halted(self) -> None:
        if self._halted:
            raise InstrumentFaultError(
                "an operator stopped this instrument; it does not wait for scans or results until it is resumed"
            )

    def _wait_for_result(self, request_id: str) -> ReturnedResult:
        while True:
            self._raise_if_halted()
            self._inbox.poll()
            result = self._inbox.results.pop(request_id, None)
            if result is not None:
                return result
            reason = self._reason_to_stop_waiting()
            if reason:
                if self._table is not None:
                    self._inbox.report_left_in_outbox(self._table)
                raise LimitError(f"no result was given for this point: {reason}; the point is listed in {self._table}")
            if self._pause(min(self._settings.poll_s, max(0.0, self._deadline_s - self._wall()) + 0.001)):
                raise InstrumentFaultError("the adapter was stopped while it waited for the operator to measure this point")

    def _reason_to_stop_waiting(self) -> str:
        """Why the wait for results is over; "" while a result may still come."""
        if self._settings.wait_results_s == 0:
            return "points are measured by hand and the adapter does not wait for results (see --wait-results)"
        if self._wall() >= self._deadline_s:
            return f"{self._settings.wait_results_s:g} s have passed"
        if self._expires_at is not None and self._clock() >= self._expires_at:
            return "the recommendation has expired"
        self._watch.poll()
        return "a newer scan has appeared" if self._watch.has_scan else ""

    def _sample(self, path: Path, scan: Scan) -> str:
        settings = self._settings
        return settings.sample_id or sample_name(path, settings.folder, scan.metadata, settings.sample_key)

    def _remember(self, scan: Scan) -> Scan:
        # Only frame and note are needed; a channel would keep the images of all channels in memory.
        nothing = np.broadcast_to(np.float32(0), (scan.frame.rows, scan.frame.cols))
        self._recent_scans[scan.scan_id] = replace(scan, channels={"none": nothing})
        while len(self._recent_scans) > _RECENT_SCANS_MAX:
            del self._recent_scans[next(iter(self._recent_scans))]
        return scan
