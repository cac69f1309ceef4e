"""What is only shown and never recorded: how far a search is, and what instruments say they are doing."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.dashboard.models import Edits, Problem, ProgressView
from agent.errors import ControlError
from agent.messaging.partial_frames import PartialFrame
from instrument_adapters.protocol.messages import StatusMessage


@dataclass
class _Search:
    """A search under way: when it began, and what was last told of it."""

    instrument_id: str
    began: float
    stage: str = "looking at the scan"
    done: int = 0
    total: int = 1
    rungs: list[str] = field(default_factory=list)
    places: int | None = None


class Live:
    """Told by the service in its own thread, asked by the page in others.

    Parameters
    ----------
    deadline_s
        After which a search ends at the latest; None: never.
    now
        Seconds from any origin.
    """

    def __init__(self, deadline_s: float | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._deadline_s, self._now = deadline_s, now
        self._search: dict[str, _Search] = {}  # by scan
        self._took_s: dict[str, float] = {}  # by instrument
        self._owner: dict[str, str] = {}  # of a scan

    def tell(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Something that the service publishes; kinds that say nothing of a search are passed over."""
        scan_id = str(facts.get("scan_id", ""))
        if kind == "scan":
            self._owner[scan_id] = str(facts["instrument_id"])
        elif kind == "progress":
            search = self._of(scan_id)
            search.stage, search.done, search.total = str(facts["stage"]), int(facts["done"]), int(facts["total"])
        elif kind == "provisional":
            search = self._of(scan_id)
            search.rungs, search.places = list(facts["rungs"]), int(facts["places"])
        elif kind == "decision":
            ended = self._search.pop(scan_id, None)
            self._owner.pop(scan_id, None)
            if ended is not None:
                self._took_s[ended.instrument_id] = self._now() - ended.began

    def searches(self, undecided: Mapping[str, str]) -> dict[str, ProgressView]:
        """Instrument -> how far the search on its scan is.

        Parameters
        ----------
        undecided
            Scan -> instrument, for the scans on which no decision has been made; what is told of others is past.
        """
        return {
            undecided[scan_id]: self._view(undecided[scan_id], s)
            for scan_id, s in list(self._search.items())
            if scan_id in undecided
        }

    def _of(self, scan_id: str) -> _Search:
        if scan_id not in self._search:
            self._search = {}  # one search at a time: an older one has ended, however it ended
            self._search[scan_id] = _Search(self._owner.get(scan_id, ""), self._now())
        return self._search[scan_id]

    def _view(self, instrument_id: str, search: _Search) -> ProgressView:
        since_s = self._now() - search.began
        took_s = self._took_s.get(instrument_id)
        share = search.done / max(search.total, 1)
        if took_s is not None:
            share = min(since_s / max(took_s, 1e-3), 0.97)
        if self._deadline_s is not None:
            share = max(share, min(since_s / self._deadline_s, 1.0))
        return ProgressView(
            stage=search.stage,
            done=search.done,
            total=search.total,
            share=share,
            since_s=since_s,
            about_left_s=None if took_s is None else max(took_s - since_s, 0.0),
            most_left_s=None if self._deadline_s is None else max(self._deadline_s - since_s, 0.0),
            rungs=search.rungs,
            places=search.places,
        )


class Running(Protocol):
    """What of `agent.service.service.Service` is shown; it calls `on_publish` with all that it publishes, in its event loop."""

    on_publish: Callable[[str, Mapping[str, Any]], None]

    def partial_frame(self, instrument_id: str) -> PartialFrame | None:
        """What an instrument has shown of the frame that it is recording."""

    def doing(self, instrument_id: str) -> StatusMessage | None:
        """What an instrument last said that it is doing."""

    def objections(self, decision_id: str, drop: Sequence[str], move: Mapping[str, tuple[float, float]]) -> dict[str, str]:
        """Which points of a waiting decision could not be approved with these edits, and why."""


class ServiceWatch:
    """Asks the service; see `agent.dashboard.views.Watched`.

    Parameters
    ----------
    service
        In whose event loop `problems` is called; all else may be asked from any thread.
    deadline_s
        Of a search; None: none.
    """

    def __init__(self, service: Running, deadline_s: float | None) -> None:
        self._service, self._live = service, Live(deadline_s)

    def tell(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Something that the service publishes."""
        self._live.tell(kind, facts)

    def searches(self, undecided: Mapping[str, str]) -> dict[str, ProgressView]:
        """Instrument -> how far the search on its scan is."""
        return self._live.searches(undecided)

    def partial(self, instrument_id: str) -> PartialFrame | None:
        """What has come of the frame that an instrument is recording."""
        return self._service.partial_frame(instrument_id)

    def activity(self, instrument_id: str) -> str:
        """What an instrument says that it is doing: a word, and after a colon a sentence if there is one."""
        told = self._service.doing(instrument_id)
        if told is None:
            return ""
        return f"{told.activity}: {told.sentence}" if told.sentence else told.activity

    def measuring(self, instrument_id: str) -> str | None:
        """The request that an instrument is measuring."""
        told = self._service.doing(instrument_id)
        return told.request_id if told is not None and told.activity == "measuring" else None

    def problems(self, decision_id: str, edits: Edits) -> list[Problem]:
        """What would be refused of these edits; all of it, where the decision is not open any more."""
        try:
            found = self._service.objections(decision_id, edits.drop, edits.move)
        except ControlError as error:
            return [Problem(request_id=name, sentence=str(error)) for name in edits.move]
        return [Problem(request_id=name, sentence=why) for name, why in found.items()]
