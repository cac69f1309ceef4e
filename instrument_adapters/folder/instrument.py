"""A watched folder as an instrument: its scans are the files that appear there, and its hands are a person's.

Any microscope that saves files can so be advised without a word spoken to its controller. Recommended points are written to an
outbox (`folder_outbox`); results may come back through an inbox (`folder_results`), else each request is answered `skipped`.
Nothing is ever written to the folder itself.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from pathlib import Path

from instrument_adapters.errors import AdapterError, InstrumentFaultError, LimitError
from instrument_adapters.folder.inbox import Inbox, Result
from instrument_adapters.folder.naming import sample_of
from instrument_adapters.folder.outbox import Outbox
from instrument_adapters.folder.watcher import FolderWatch, WatchSettings
from instrument_adapters.instrument import Measurement, check_request
from instrument_adapters.protocol.messages import Limits, MeasurementRequest, RecommendationMessage
from instrument_adapters.scan import Scan

_LOG = logging.getLogger(__name__)
_SCANS_KEPT = 8  # frames of the latest scans, for writing down where their points are


@dataclass(frozen=True)
class FolderSettings:
    """What a watched folder is as an instrument.

    Parameters
    ----------
    folder
        Where scans appear.
    instrument_id, model
        What the agent is told.
    limits
        What a person at the instrument may be asked for.
    zone
        Zone of the instrument's clock, which its files do not name.
    watch
        How the folder is watched.
    poll_s
        Pause between looks at folder and inbox.
    wait_results_s
        How long results of a recommendation are waited for, from when it was written on; 0: not at all.
    sample_id, sample_key
        Name of the sample; else the note's value of this key; else the subfolder's name, or "sample".
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
    """The `Instrument`; it is `Planning`, `Halting` and `Telling`, too.

    Parameters
    ----------
    settings
        See there.
    outbox, inbox
        Where points are written, and where results come back.
    pause
        Waits so many seconds; true if it was ended by `close`.
    close
        Ends all pauses, from any thread.
    wall
        Seconds from any origin; never jumps backwards.
    clock
        Wall time with its zone.
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
        self._scans: dict[str, Scan] = {}
        self._plan_fault = ""
        self._planned: Path | None = None
        self._until_s = 0.0
        self._expires_at: datetime | None = None
        self._halted = False

    def tell_troubles(self, tell: Callable[[str, str], None]) -> None:
        """Tell of files that cannot be taken through `tell`, in place of the log."""
        self._watch.trouble = self._inbox.trouble = tell

    @property
    def instrument_id(self) -> str:
        """Name of this instrument."""
        return self._settings.instrument_id

    @property
    def model(self) -> str:
        """What the agent is told of it."""
        return self._settings.model

    @property
    def limits(self) -> Limits:
        """What a person at the instrument may be asked for."""
        return self._settings.limits

    def scan(self) -> Scan:
        """The next whole scan that appears; waits for it without end, also while the folder is away.

        Raises
        ------
        InstrumentFaultError
            If it was closed meanwhile or before.
        """
        while not self._pause(0.0):
            self._heed_halt()
            self._watch.look()
            found = self._watch.next_scan()
            if found is not None:
                path, scan = found
                _LOG.info("%s is scan %s", path, scan.scan_id)
                return self._kept(replace(scan, sample_id=self._sample(path, scan)))
            self._pause(self._settings.poll_s)
        raise InstrumentFaultError("the folder is not watched any more; start the adapter again to go on")

    def plan(self, recommendation: RecommendationMessage) -> None:
        """Write down for a person where to measure."""
        self._until_s = self._wall() + self._settings.wait_results_s
        self._expires_at = recommendation.expires_at
        self._plan_fault, self._planned = "", None
        if not recommendation.requests:
            return
        try:
            self._planned = self._outbox.write(recommendation, self._scans.get(recommendation.scan_id))
        except AdapterError as error:
            self._plan_fault = str(error)
            _LOG.error("%s", error)
        else:
            _LOG.info(
                "%d points are in %s; results may be put into %s", len(recommendation.requests), self._planned, self._inbox.folder
            )

    def measure(self, request: MeasurementRequest) -> Measurement:
        """What a person has measured at the point.

        Raises
        ------
        LimitError
            If nobody did before the end of waiting, or said that it was skipped.
        InstrumentFaultError
            If a person said that it failed, or the adapter was closed meanwhile.
        """
        check_request(request, self.limits)
        if self._plan_fault:
            raise LimitError(self._plan_fault)
        result = self._awaited(request.request_id)
        if result.status == "skipped":
            raise LimitError(result.reason or "a person skipped this point and gave no reason")
        if result.status == "failed":
            raise InstrumentFaultError(result.reason or "a person said that this point failed and gave no reason")
        return Measurement(
            x_m=request.x_m if result.x_m is None else result.x_m,
            y_m=request.y_m if result.y_m is None else result.y_m,
            measured_at=result.measured_at or self._clock(),
            arrays=result.arrays,
            parameters=result.parameters,
            remark=result.reason,
        )

    def halt(self) -> None:
        """End the wait under way within half a second; nothing moves here, so nothing has to be made safe."""
        self._halted = True

    def release(self) -> None:
        """Wait again for scans and results."""
        self._halted = False

    def close(self) -> None:
        """End whatever waits."""
        self._close()

    def _heed_halt(self) -> None:
        if self._halted:
            raise InstrumentFaultError("a person has stopped this instrument; nothing is waited for until it is resumed")

    def _awaited(self, request_id: str) -> Result:
        while True:
            self._heed_halt()
            self._inbox.look()
            result = self._inbox.results.pop(request_id, None)
            if result is not None:
                return result
            end = self._end_of_waiting()
            if end:
                raise LimitError(f"no result came for this point: {end}; it is in {self._planned}")
            if self._pause(min(self._settings.poll_s, max(0.0, self._until_s - self._wall()) + 0.001)):
                raise InstrumentFaultError("the adapter was stopped while it waited for a person to measure this point")

    def _end_of_waiting(self) -> str:
        """Why no result is waited for any longer; "" while one may come."""
        if self._settings.wait_results_s == 0:
            return "points are measured by hand, and results are not waited for (see --wait-results)"
        if self._wall() >= self._until_s:
            return f"{self._settings.wait_results_s:g} s have passed"
        if self._expires_at is not None and self._clock() >= self._expires_at:
            return "the recommendation has expired"
        self._watch.look()
        return "a newer scan is there" if self._watch.has_scan else ""

    def _sample(self, path: Path, scan: Scan) -> str:
        settings = self._settings
        return settings.sample_id or sample_of(path, settings.folder, scan.metadata, settings.sample_key)

    def _kept(self, scan: Scan) -> Scan:
        self._scans[scan.scan_id] = replace(scan, channels=dict([*scan.channels.items()][:1]))
        while len(self._scans) > _SCANS_KEPT:
            del self._scans[next(iter(self._scans))]
        return scan
