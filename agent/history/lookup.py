"""What an id in a run stands for."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from agent.errors import AgentError, HistoryError
from agent.history.event_log import Event, History
from agent.history.run_directory import named_or_newest
from instrument_adapters.errors import AdapterError

T = TypeVar("T")


def opened(run: Path | None) -> History:
    """The history of a run, for reading."""
    return History(named_or_newest(run), read_only=True)


def find(history: History, identifier: str) -> list[Event]:
    """The events that an id stands for: of a scan, a decision, a request, an instrument; else the event of this number; else
    those whose subject begins with it.

    Raises
    ------
    HistoryError
        If there are none.
    """
    begun = list(history.events(mentioning=identifier))
    found = [e for e in begun if identifier in names(e)]
    if not found and identifier.isascii() and identifier.isdigit() and len(identifier) < 19:
        event = history.event(int(identifier))
        found = [] if event is None else [event]
    found = found or [e for e in begun if e.subject.startswith(identifier)]
    if not found:
        raise HistoryError(f"'{identifier}' is not in {history.run_directory}; `vaestar history list` shows what is")
    return found


def names(event: Event) -> list[str]:
    """The ids of all that an event is about: its subject, its scan, and the requests that it makes."""
    made, let_pass = entries(event.body.get("decision"), "requests"), entries(event.body, "requests")
    requests = [r["request_id"] for r in (*made, *let_pass) if "request_id" in r]
    return [event.subject, event.body.get("scan_id", event.subject), *requests]


def entries(value: Any, name: str) -> list[dict[str, Any]]:
    """A list of objects in an object, empty where there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


@contextlib.contextmanager
def legible(history: History) -> Iterator[None]:
    """Say in one sentence that events do not hold what their kinds promise, whichever it was."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, AgentError | AdapterError):
            raise
        raise HistoryError(
            f"the history in {history.run_directory} cannot be made sense of ({type(error).__name__}: {error}); `vaestar history "
            "verify` says what was altered"
        ) from error


def only(found: Iterable[T]) -> T:
    """The first of what was found.

    Raises
    ------
    LookupError
        If nothing was.
    """
    for item in found:
        return item
    raise LookupError("what an event refers to is not there")
