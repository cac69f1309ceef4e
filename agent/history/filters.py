"""Parts of a history: what one instrument did, what became of one sample or scan, what came since some time."""

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
class Part:
    """Which events are meant; None does not ask.

    Parameters
    ----------
    kind
        Such as "decision_made".
    instrument, sample, scan
        Their ids.
    since
        Recorded at this time or later.
    """

    kind: str | None = None
    instrument: str | None = None
    sample: str | None = None
    scan: str | None = None
    since: datetime | None = None

    def __str__(self) -> str:
        asked = {"kind": self.kind, "instrument": self.instrument, "sample": self.sample, "scan": self.scan}
        named = [f"{name} '{value}'" for name, value in asked.items() if value is not None]
        return ", ".join([*named, *([f"since {self.since.isoformat()}"] if self.since else [])])


def since(text: str | None, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> datetime | None:
    """A time as people write it: "2026-11-26", "2026-11-26T14:30" (UTC where no zone is given), or "90min", "2h", "3d" ago.

    Raises
    ------
    HistoryError
        If it is nothing of the kind.
    """
    if text is None:
        return None
    if ago := _AGO.fullmatch(text.strip()):
        return now() - timedelta(seconds=int(ago[1]) * _SECONDS[ago[2]])
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise HistoryError(f"'{text}' is no time; give one such as 2026-11-26T14:30 (UTC), or 2h, 3d, 90min ago") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def stream(history: History, part: Part, *, after: int = 0, last: int | None = None) -> Iterator[Event]:
    """The events of a part in order.

    Parameters
    ----------
    history
        Read from the disk as the events are asked for.
    part
        Which.
    after
        Only those with a greater number.
    last
        Of these, only so many, the newest.
    """
    if part.sample is None and part.scan is None and part.since is None:
        yield from history.events(kind=part.kind, instrument=part.instrument, after=after, last=last)
        return
    samples = None if part.sample is None else _Samples(history)
    events = history.events(kind=part.kind, instrument=part.instrument, mentioning=part.scan, after=after)
    found = (e for e in events if _meant(e, part, samples))
    yield from found if last is None else deque(found, maxlen=last)


def scan_of_event(event: Event) -> str | None:
    """The scan that an event is about, if it is about one."""
    if event.kind in (kinds.SCAN_RECEIVED, kinds.SEARCH_CANCELLED):
        return event.subject
    scan_id = event.body.get("scan_id")
    return scan_id if isinstance(scan_id, str) else None


def _meant(event: Event, part: Part, samples: "_Samples | None") -> bool:
    if part.since is not None and event.recorded_at < part.since:
        return False
    if part.scan is not None and scan_of_event(event) != part.scan:
        return False
    return samples is None or samples.of(event) == part.sample


class _Samples:
    """Which sample an event is about."""

    def __init__(self, history: History) -> None:
        self._known: dict[tuple[object, object], str] = {}
        for event in history.events(kind=kinds.SCAN_RECEIVED):
            self.of(event)

    def of(self, event: Event) -> str | None:
        scan = event.body.get("instrument_id"), scan_of_event(event)
        if event.kind == kinds.SCAN_RECEIVED and isinstance(sample := event.body.get("sample_id"), str):
            self._known[scan] = sample
        return self._known.get(scan)
