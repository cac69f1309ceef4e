"""Selecting events of a history by kind, instrument, sample, scan or time."""

import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from agent.errors import HistoryError
from agent.history.event_log import Event, History
from agent.schema import event_kinds as kinds

_AGO = re.compile(r"(\d{1,6})\s*(s|min|h|d)")
_SECONDS = {"s": 1, "min": 60, "h": 3600, "d": 86400}


@dataclass(frozen=True)
class EventFilter:
    """The events to select; a field that is None selects all.

    Parameters
    ----------
    kind
        Event kind, such as "decision_made".
    instrument, sample, scan
        Ids that the events must concern.
    since
        Earliest time of recording.
    """

    kind: str | None = None
    instrument: str | None = None
    sample: str | None = None
    scan: str | None = None
    since: datetime | None = None

    def __str__(self) -> str:
        fields = {"kind": self.kind, "instrument": self.instrument, "sample": self.sample, "scan": self.scan}
        given = [f"{name} '{value}'" for name, value in fields.items() if value is not None]
        return ", ".join([*given, *([f"since {self.since.isoformat()}"] if self.since else [])])


def parse_since(text: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> datetime | None:
    """The time meant by "2026-11-26", by "2026-11-26T14:30" (UTC unless a zone is given), or by "90min", "2h", "3d" (ago).

    Raises
    ------
    HistoryError
        If it is none of these.
    """
    if text is None:
        return None
    if ago := _AGO.fullmatch(text.strip()):
        return now() - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise HistoryError(
            f"'{text}' is not a time; give one such as 2026-11-26T14:30 (UTC), or 2h, 3d or 90min for so long ago"
        ) from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def filtered_events(
    history: History, event_filter: EventFilter, *, after: int = 0, last: int | None = None, outlines: bool = False
) -> Iterator[Event]:
    """The selected events in order.

    Parameters
    ----------
    history
        History of the run; it is read while the events are iterated over.
    event_filter
        The events to select.
    after
        Sequence number after which events are read.
    last
        Largest number of events; the newest ones are returned.
    outlines
        Whether the bodies lack the details of decisions and the metrics of candidates, as in `History.events`.
    """
    if event_filter.sample is None and event_filter.scan is None and event_filter.since is None:
        yield from history.events(
            kind=event_filter.kind, instrument=event_filter.instrument, after=after, last=last, outlines=outlines
        )
        return
    samples = None if event_filter.sample is None else _SampleOfEvent(history)
    events = history.events(
        kind=event_filter.kind,
        instrument=event_filter.instrument,
        mentioning=event_filter.scan,
        after=after,
        outlines=outlines,
    )
    found = (e for e in events if _matches(e, event_filter, samples))
    yield from found if last is None else deque(found, maxlen=last)


def scan_of_event(event: Event) -> str | None:
    """Id of the scan that an event is about, or None."""
    if event.kind in (kinds.SCAN_RECEIVED, kinds.SEARCH_CANCELLED):
        return event.subject
    scan_id = event.body.get("scan_id")
    return scan_id if isinstance(scan_id, str) else None


def _matches(event: Event, event_filter: EventFilter, samples: "_SampleOfEvent | None") -> bool:
    if event_filter.since is not None and event.recorded_at < event_filter.since:
        return False
    if event_filter.scan is not None and scan_of_event(event) != event_filter.scan:
        return False
    return samples is None or samples.sample_of(event) == event_filter.sample


class _SampleOfEvent:
    """Looks up the sample that an event is about, through its scan."""

    def __init__(self, history: History) -> None:
        self._known: dict[tuple[object, object], str] = {}
        for event in history.events(kind=kinds.SCAN_RECEIVED):
            self.sample_of(event)

    def sample_of(self, event: Event) -> str | None:
        scan = event.body.get("instrument_id"), scan_of_event(event)
        if event.kind == kinds.SCAN_RECEIVED and isinstance(sample := event.body.get("sample_id"), str):
            self._known[scan] = sample
        return self._known.get(scan)
