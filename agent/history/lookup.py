"""Finding events by an id, and reading histories that may be damaged."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from agent.errors import AgentError, HistoryError
from agent.history.event_log import Event, History
from agent.history.run_directory import named_or_newest
from instrument_adapters.errors import AdapterError

T = TypeVar("T")


def open_history(run: Path | None) -> History:
    """The history of a run, opened for reading; of the newest run if `run` is None."""
    return History(named_or_newest(run), read_only=True)


def find_events(history: History, identifier: str) -> list[Event]:
    """The events about a scan, decision, request or instrument with this id.

    If there are none: the event with this sequence number, else events whose subject begins with the text.

    Raises
    ------
    HistoryError
        If nothing is found.
    """
    mentioning = list(history.events(mentioning=identifier))
    found = [e for e in mentioning if identifier in ids_in(e)]
    if not found and identifier.isascii() and identifier.isdigit() and len(identifier) < 19:
        event = history.event(int(identifier))
        found = [] if event is None else [event]
    found = found or [e for e in mentioning if e.subject.startswith(identifier)]
    if not found:
        raise HistoryError(f"'{identifier}' is not in {history.run_directory}; `vaestar history list` shows what it holds")
    return found


def ids_in(event: Event) -> list[str]:
    """Ids that an event is about: its subject, its scan, and its requests."""
    made, approved = entries(event.body.get("decision"), "requests"), entries(event.body, "requests")
    requests = [r["request_id"] for r in (*made, *approved) if "request_id" in r]
    return [event.subject, event.body.get("scan_id", event.subject), *requests]


def entries(value: Any, name: str) -> list[dict[str, Any]]:
    """The list of objects under a key of a JSON object; empty if there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


@contextlib.contextmanager
def reading_history(history: History) -> Iterator[None]:
    """Turn errors from malformed events into one `HistoryError` that names the run."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, AgentError | AdapterError):
            raise
        raise HistoryError(
            f"the history in {history.run_directory} cannot be interpreted ({type(error).__name__}: {error}); "
            "`vaestar history verify` shows what was altered"
        ) from error


def first_found(found: Iterable[T]) -> T:
    """The first item.

    Raises
    ------
    LookupError
        If there is none.
    """
    for item in found:
        return item
    raise LookupError("the history lacks something that an event refers to")
