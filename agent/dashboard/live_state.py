"""State that is shown but never recorded: progress of searches, and reported activity of instruments."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from agent.dashboard.models import EditProblem, Edits, ProgressView
from agent.errors import ControlError
from agent.messaging.partial_frames import PartialFrame
from instrument_adapters.protocol.messages import StatusMessage


@dataclass
class _SearchState:
    """A search under way, with its last reported progress."""

    instrument_id: str
    started_s: float
    stage: str = "preparing the scan"
    done: int = 0
    total: int = 1
    places: int | None = None


class SearchProgress:
    """Progress of searches: updated in the service's thread, read in others.

    Parameters
    ----------
    deadline_s
        Longest duration of a search in seconds; None: unlimited.
    now
        Monotonic clock in seconds.
    """

    def __init__(self, deadline_s: float | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._deadline_s, self._now = deadline_s, now
        self._search: dict[str, _SearchState] = {}  # by scan
        self._last_duration_s: dict[str, float] = {}  # by instrument
        self._instrument: dict[str, str] = {}  # by scan

    def update(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Take in a message that the service publishes; kinds that do not concern a search are ignored."""
        scan_id = str(facts.get("scan_id", ""))
        if kind == "scan":
            self._instrument[scan_id] = str(facts["instrument_id"])
        elif kind == "progress":
            search = self._get(scan_id)
            search.stage, search.done, search.total = str(facts["stage"]), int(facts["done"]), int(facts["total"])
        elif kind == "provisional":
            search = self._get(scan_id)
            search.places = int(facts["places"])
        elif kind == "decision":
            finished = self._search.pop(scan_id, None)
            self._instrument.pop(scan_id, None)
            if finished is not None:
                self._last_duration_s[finished.instrument_id] = self._now() - finished.started_s

    def searches(self, undecided: Mapping[str, str]) -> dict[str, ProgressView]:
        """Return the progress of the search on each instrument's scan.

        Parameters
        ----------
        undecided
            Scan -> instrument, of the scans without a decision; searches on other scans are over.
        """
        return {
            undecided[scan_id]: self._view(undecided[scan_id], s)
            for scan_id, s in list(self._search.items())
            if scan_id in undecided
        }

    def _get(self, scan_id: str) -> _SearchState:
        if scan_id not in self._search:
            self._search = {}  # one search at a time: an older one is over
            self._search[scan_id] = _SearchState(self._instrument.get(scan_id, ""), self._now())
        return self._search[scan_id]

    def _view(self, instrument_id: str, search: _SearchState) -> ProgressView:
        since_s = self._now() - search.started_s
        last_s = self._last_duration_s.get(instrument_id)
        share = search.done / max(search.total, 1)
        if last_s is not None:
            share = min(since_s / max(last_s, 1e-3), 0.97)
        if self._deadline_s is not None:
            share = max(share, min(since_s / self._deadline_s, 1.0))
        return ProgressView(
            stage=search.stage,
            done=search.done,
            total=search.total,
            share=share,
            since_s=since_s,
            about_left_s=None if last_s is None else max(last_s - since_s, 0.0),
            most_left_s=None if self._deadline_s is None else max(self._deadline_s - since_s, 0.0),
            places=search.places,
        )


class ObservedService(Protocol):
    """The part of `agent.service.service.Service` that the dashboard reads."""

    def partial_frame(self, instrument_id: str) -> PartialFrame | None:
        """Return the lines received so far of the scan that an instrument is recording."""

    def last_status(self, instrument_id: str) -> StatusMessage | None:
        """Return the last status message of an instrument."""

    def objections(self, decision_id: str, drop: Sequence[str], move: Mapping[str, tuple[float, float]]) -> dict[str, str]:
        """Return the points of a pending decision that could not be approved with these edits, with the reasons."""


class LiveService:
    """Live state of a running service; implements `agent.dashboard.views.LiveSource`.

    Parameters
    ----------
    service
        Observed service. Call `problems` in its event loop; the other methods may be called from any thread.
    deadline_s
        Longest duration of a search in seconds; None: unlimited.
    """

    def __init__(self, service: ObservedService, deadline_s: float | None) -> None:
        self._service, self._progress = service, SearchProgress(deadline_s)

    def update(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Take in a message that the service publishes."""
        self._progress.update(kind, facts)

    def searches(self, undecided: Mapping[str, str]) -> dict[str, ProgressView]:
        """Return the progress of the search on each instrument's scan."""
        return self._progress.searches(undecided)

    def partial(self, instrument_id: str) -> PartialFrame | None:
        """Return the lines received so far of the scan that an instrument is recording."""
        return self._service.partial_frame(instrument_id)

    def activity(self, instrument_id: str) -> str:
        """Return the activity that an instrument reports: one word, followed by a colon and a sentence if there is one."""
        status = self._service.last_status(instrument_id)
        if status is None:
            return ""
        return f"{status.activity}: {status.sentence}" if status.sentence else status.activity

    def measuring(self, instrument_id: str) -> str | None:
        """Return the id of the request that an instrument is measuring."""
        status = self._service.last_status(instrument_id)
        return status.request_id if status is not None and status.activity == "measuring" else None

    def problems(self, decision_id: str, edits: Edits) -> list[EditProblem]:
        """Return the points that would be refused with these edits; all moved ones if the decision is no longer pending."""
        try:
            found = self._service.objections(decision_id, edits.drop, edits.move)
        except ControlError as error:
            return [EditProblem(request_id=name, sentence=str(error)) for name in edits.move]
        return [EditProblem(request_id=name, sentence=why) for name, why in found.items()]
