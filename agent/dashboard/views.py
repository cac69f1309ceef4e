"""All views of a run, computed from its history; costly ones are cached by decision and by scan."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np

from agent.dashboard.decision_view import decision_view
from agent.dashboard.model_view import PatchReconstructor
from agent.dashboard.models import (
    Checked,
    EditProblem,
    Edits,
    LiveView,
    LoopsView,
    PlacesView,
    ProgressView,
    RunView,
    ScanView,
    TimelineEntry,
)
from agent.dashboard.places_view import loops_view, places_view
from agent.dashboard.run_follower import RunFollower
from agent.dashboard.run_view import run_view, scan_view
from agent.dashboard.timeline import HIDDEN, timeline
from agent.errors import HistoryError
from agent.history.event_log import History
from agent.history.readers import decision_in, scan_in
from agent.ledger.entries import ScanEntry
from agent.messaging.partial_frames import PartialFrame
from agent.schema.event_kinds import DECISION_MADE
from instrument_adapters.scan import Scan

T = TypeVar("T")
_CACHE_SIZE = 6


class LruCache(Generic[T]):
    """Least-recently-used cache that computes each value once, also for simultaneous requests."""

    def __init__(self, capacity: int = _CACHE_SIZE) -> None:
        self._capacity, self._lock = capacity, threading.Lock()
        self._values: OrderedDict[object, T] = OrderedDict()

    def get(self, key: object, compute: Callable[[], T]) -> T:
        """Return the value cached under `key`, computing it if there is none."""
        with self._lock:
            if key not in self._values:
                self._values[key] = compute()
            self._values.move_to_end(key)
            while len(self._values) > self._capacity:
                self._values.popitem(last=False)
            return self._values[key]


class LiveSource(Protocol):
    """State of a running agent that its history does not hold; may be read from any thread."""

    def searches(self, undecided: Mapping[str, str]) -> dict[str, ProgressView]:
        """Return the progress of the search on each instrument's scan, given scan -> instrument of the undecided scans."""

    def partial(self, instrument_id: str) -> PartialFrame | None:
        """Return the lines received so far of the scan that an instrument is recording."""

    def activity(self, instrument_id: str) -> str:
        """Return the activity that an instrument reports; "" if it reports none."""

    def measuring(self, instrument_id: str) -> str | None:
        """Return the id of the request that an instrument is measuring, if it reports it."""

    def problems(self, decision_id: str, edits: Edits) -> list[EditProblem]:
        """Return the points that would be refused if the decision were approved with these edits, with the reasons."""


class Views:
    """The views of one run; may be called from any thread.

    Parameters
    ----------
    run_directory
        Run directory; its history is only read.
    agent
        Live state of the running agent.
    """

    def __init__(self, run_directory: Path, agent: LiveSource) -> None:
        self.follower = RunFollower(run_directory)
        self._agent = agent
        self._decisions: LruCache[bytes] = LruCache()
        self._reconstructors: LruCache[PatchReconstructor] = LruCache()
        self._scans: LruCache[Scan] = LruCache()

    def run(self) -> RunView:
        """Return the view of the run."""
        with self._current() as run:
            return run_view(run)

    def live(self) -> LiveView:
        """Return the state that is shown but not recorded."""
        with self._current() as run:
            names = list(run.ledger.instruments)
            undecided = {e.scan_id: name for name in names if (e := run.ledger.undecided(name)) is not None}
        frames = {name: frame for name in names if (frame := self._agent.partial(name)) is not None}
        return LiveView(
            run_id=run.run_id,
            progress=self._agent.searches(undecided),
            activity={name: doing for name in names if (doing := self._agent.activity(name))},
            partial={name: frame.at.isoformat() for name, frame in frames.items()},
        )

    def partial(self, instrument_id: str) -> PartialFrame | None:
        """Return the lines received so far of the scan that an instrument is recording."""
        return self._agent.partial(instrument_id)

    def check(self, decision_id: str, edits: Edits) -> Checked:
        """Return the points that would be refused if the decision were approved with these edits, with the reasons."""
        return Checked(problems=self._agent.problems(decision_id, edits))

    def scan(self, instrument_id: str, scan_id: str) -> ScanView:
        """Return the view of a scan, without its values."""
        with self._current() as run:
            entry = self._entry(run, instrument_id, scan_id)
            config = run.config
        scan = self._scan(entry)
        return scan_view(scan, instrument_id, entry.event.seq, entry.event.recorded_at, config)

    def channel(self, instrument_id: str, scan_id: str, number: int) -> bytes:
        """Return the values of a channel as float32, row by row, little-endian."""
        with self._current() as run:
            entry = self._entry(run, instrument_id, scan_id)
        images = list(self._scan(entry).channels.values())
        if not 0 <= number < len(images):
            raise HistoryError(f"scan '{scan_id}' has channels 0 to {len(images) - 1}, not {number}")
        return np.ascontiguousarray(images[number], dtype="<f4").tobytes()

    def decision(self, decision_id: str) -> bytes:
        """Return a decision with all its key points, as JSON."""
        with self._current() as run:
            followed = run.decision(decision_id)
        directory = self.follower.run_directory

        def compute() -> bytes:
            with History(directory, read_only=True) as history:
                event = next(history.events(kind=DECISION_MADE, subject=decision_id))
                return decision_view(followed, decision_in(history, event)).model_dump_json().encode()

        return self._decisions.get(decision_id, compute)

    def places(self, decision_id: str) -> PlacesView:
        """Return the points of a decision with their states."""
        with self._current() as run:
            followed = run.decision(decision_id)
            return places_view(followed, run.ledger, self._agent.measuring(followed.instrument_id))

    def loops(self, decision_id: str) -> LoopsView:
        """Return the loops measured on a decision's points."""
        with self._current() as run:
            followed = run.decision(decision_id)
            results = dict(followed.results)
        with History(self.follower.run_directory, read_only=True) as history:
            return loops_view(followed, results, history)

    def reconstructions(self, decision_id: str, first: int) -> tuple[bytes, int]:
        """Return a block of reconstructions, one byte per pixel, and the side of a patch in pixels."""
        with self._current() as run:
            followed = run.decision(decision_id)
            entry = self._entry(run, followed.instrument_id, followed.record.scan_id)
        directory = self.follower.run_directory

        def compute() -> PatchReconstructor:
            with History(directory, read_only=True) as history:
                event = next(history.events(kind=DECISION_MADE, subject=decision_id))
                return PatchReconstructor.of(self._scan(entry), decision_in(history, event))

        patches = self._reconstructors.get(decision_id, compute).reconstructions(first)
        return patches.tobytes(), patches.shape[1]

    def timeline(self, instrument_id: str | None, limit: int) -> list[TimelineEntry]:
        """Return the newest events in words: those of one instrument and of the run itself."""
        with History(self.follower.run_directory, read_only=True) as history:
            return timeline(history.newest(limit, instrument=instrument_id, without=HIDDEN))

    @contextlib.contextmanager
    def _current(self) -> Iterator[RunFollower]:
        """Bring the run up to date and lock it while it is read."""
        with self.follower.lock:
            self.follower.catch_up()
            yield self.follower

    def _entry(self, run: RunFollower, instrument_id: str, scan_id: str) -> ScanEntry:
        found = run.ledger.scans.get((instrument_id, scan_id))
        if found is None:
            raise HistoryError(f"this run has no scan '{scan_id}' of '{instrument_id}'")
        return found

    def _scan(self, entry: ScanEntry) -> Scan:
        def compute() -> Scan:
            with History(self.follower.run_directory, read_only=True) as history:
                event = history.event(entry.event.seq)  # the ledger drops the header of older scans
                if event is None:
                    raise HistoryError(f"event {entry.event.seq} is missing from {self.follower.run_directory}")
                return scan_in(history, event)

        return self._scans.get((entry.instrument_id, entry.scan_id), compute)
