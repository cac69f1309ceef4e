"""Everything that the page can ask about a run, answered from its history; what is costly is kept by decision and by scan."""

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np

from agent.dashboard.decision_view import decision_view
from agent.dashboard.model_view import Looks
from agent.dashboard.models import (
    Checked,
    Edits,
    LiveView,
    LoopsView,
    PlacesView,
    Problem,
    ProgressView,
    RunView,
    ScanView,
    TimelineEntry,
)
from agent.dashboard.places_view import loops_view, places_view
from agent.dashboard.run_follower import RunFollower
from agent.dashboard.run_view import run_view
from agent.dashboard.scan_view import scan_view
from agent.dashboard.timeline import timeline
from agent.errors import HistoryError
from agent.history.event_log import History
from agent.history.readers import decision_in, scan_in
from agent.ledger.entries import ScanEntry
from agent.messaging.partial_frames import PartialFrame
from agent.schema.event_kinds import DECISION_MADE
from instrument_adapters.scan import Scan

T = TypeVar("T")
_KEPT = 6


class Kept(Generic[T]):
    """The newest few of what is costly to make; made once, also when two ask at the same time."""

    def __init__(self, most: int = _KEPT) -> None:
        self._most, self._lock = most, threading.Lock()
        self._of: OrderedDict[object, T] = OrderedDict()

    def get(self, key: object, make: Callable[[], T]) -> T:
        """What was kept under `key`, or what `make` gives now."""
        with self._lock:
            if key not in self._of:
                self._of[key] = make()
            self._of.move_to_end(key)
            while len(self._of) > self._most:
                self._of.popitem(last=False)
            return self._of[key]


class Watched(Protocol):
    """A running agent, as far as the page shows what is not in its history; asked from any thread."""

    def searches(self, undecided: Mapping[str, str]) -> dict[str, ProgressView]:
        """Instrument -> how far the search on its scan is; given are scan -> instrument of what is undecided."""

    def partial(self, instrument_id: str) -> PartialFrame | None:
        """What has come of the frame that an instrument is recording."""

    def activity(self, instrument_id: str) -> str:
        """What an instrument says that it is doing; "" where it says nothing."""

    def measuring(self, instrument_id: str) -> str | None:
        """The request that an instrument is measuring, if it says so."""

    def problems(self, decision_id: str, edits: Edits) -> list[Problem]:
        """What would be refused if a decision were approved with these edits."""


class Views:
    """Answers about one run; may be called from any thread.

    Parameters
    ----------
    run_directory
        Of the run; the history in it is only read.
    agent
        What is known of the running agent beside its history.
    """

    def __init__(self, run_directory: Path, agent: Watched) -> None:
        self.story = RunFollower(run_directory)
        self._agent = agent
        self._decisions: Kept[bytes] = Kept()
        self._looks: Kept[Looks] = Kept()
        self._scans: Kept[Scan] = Kept()

    def run(self) -> RunView:
        """The run at a glance."""
        with self._now() as story:
            return run_view(story)

    def live(self) -> LiveView:
        """What is shown and not recorded."""
        with self._now() as story:
            names = list(story.ledger.told)
            undecided = {e.scan_id: name for name in names if (e := story.ledger.undecided(name)) is not None}
        frames = {name: frame for name in names if (frame := self._agent.partial(name)) is not None}
        return LiveView(
            run_id=story.run_id,
            progress=self._agent.searches(undecided),
            activity={name: doing for name in names if (doing := self._agent.activity(name))},
            partial={name: frame.at.isoformat() for name, frame in frames.items()},
        )

    def partial(self, instrument_id: str) -> PartialFrame | None:
        """What has come of the frame that an instrument is recording."""
        return self._agent.partial(instrument_id)

    def check(self, decision_id: str, edits: Edits) -> Checked:
        """What would be refused of these edits."""
        return Checked(problems=self._agent.problems(decision_id, edits))

    def scan(self, instrument_id: str, scan_id: str) -> ScanView:
        """A scan without its values."""
        with self._now() as story:
            entry = self._entry(story, instrument_id, scan_id)
            config = story.config
        scan = self._scan(entry)
        return scan_view(scan, instrument_id, entry.event.seq, entry.event.recorded_at, config)

    def channel(self, instrument_id: str, scan_id: str, number: int) -> bytes:
        """The values of a scan's channel: float32, row after row, little-endian."""
        with self._now() as story:
            entry = self._entry(story, instrument_id, scan_id)
        images = list(self._scan(entry).channels.values())
        if not 0 <= number < len(images):
            raise HistoryError(f"scan '{scan_id}' has channels 0 to {len(images) - 1}, asked for was {number}")
        return np.ascontiguousarray(images[number], dtype="<f4").tobytes()

    def decision(self, decision_id: str) -> bytes:
        """A decision with all its key points, as JSON."""
        with self._now() as story:
            told = story.decision(decision_id)
        directory = self.story.run_directory

        def make() -> bytes:
            with History(directory, read_only=True) as history:
                event = next(history.events(kind=DECISION_MADE, subject=decision_id))
                return decision_view(told, decision_in(history, event)).model_dump_json().encode()

        return self._decisions.get(decision_id, make)

    def places(self, decision_id: str) -> PlacesView:
        """What has become of a decision's places."""
        with self._now() as story:
            told = story.decision(decision_id)
            return places_view(told, story.ledger, self._agent.measuring(told.instrument_id))

    def loops(self, decision_id: str) -> LoopsView:
        """All loops that a decision has led to."""
        with self._now() as story:
            told = story.decision(decision_id)
            results = dict(told.results)
        with History(self.story.run_directory, read_only=True) as history:
            return loops_view(told, results, history)

    def reconstructions(self, decision_id: str, first: int) -> tuple[bytes, int]:
        """A block of reconstructions, a byte a pixel, and the side of a patch."""
        with self._now() as story:
            told = story.decision(decision_id)
            entry = self._entry(story, told.instrument_id, told.record.scan_id)
        directory = self.story.run_directory

        def make() -> Looks:
            with History(directory, read_only=True) as history:
                event = next(history.events(kind=DECISION_MADE, subject=decision_id))
                return Looks.of(self._scan(entry), decision_in(history, event))

        made = self._looks.get(decision_id, make).reconstructions(first)
        return made.tobytes(), made.shape[1]

    def timeline(self, instrument_id: str | None, most: int) -> list[TimelineEntry]:
        """The newest events, those of one instrument and of the run itself."""
        with self._now() as story:
            explanations = {d: told.record.explanation for d, told in story.decisions.items()}
            events = (e for e in reversed(story.events) if _concerns(e.body.get("instrument_id"), instrument_id))
            return timeline(events, explanations, most)

    @contextlib.contextmanager
    def _now(self) -> Iterator[RunFollower]:
        """The story up to now; nobody changes it while it is held."""
        with self.story.lock:
            self.story.catch_up()
            yield self.story

    def _entry(self, story: RunFollower, instrument_id: str, scan_id: str) -> ScanEntry:
        found = story.ledger.scans.get((instrument_id, scan_id))
        if found is None:
            raise HistoryError(f"this run holds no scan '{scan_id}' of '{instrument_id}'")
        return found

    def _scan(self, entry: ScanEntry) -> Scan:
        def make() -> Scan:
            with History(self.story.run_directory, read_only=True) as history:
                event = history.event(entry.event.seq)  # the ledger lets go of what an older one said of itself
                if event is None:
                    raise HistoryError(f"event {entry.event.seq} is missing from {self.story.run_directory}")
                return scan_in(history, event)

        return self._scans.get((entry.instrument_id, entry.scan_id), make)


def _concerns(of: object, instrument_id: str | None) -> bool:
    return instrument_id is None or not of or of == instrument_id
