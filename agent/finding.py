"""Finding a run, and what an id in it stands for."""

from pathlib import Path
from typing import Any

from agent.history import DATABASE, RUNS, Event, History, HistoryError
from agent.terminal import OUT


def run_directory(run: Path | None) -> Path:
    """The run that was named, or the newest one.

    Raises
    ------
    HistoryError
        If none was named and there is none.
    """
    if run is not None:
        return run
    held = sorted(RUNS.glob(f"*/{DATABASE}"), key=lambda path: path.stat().st_mtime) if RUNS.is_dir() else []
    if not held:
        raise HistoryError(f"there is no run in {RUNS.resolve()}; name a run directory with --run")
    return held[-1].parent


def opened(run: Path | None) -> History:
    """The history of a run, for reading."""
    return History(run_directory(run), read_only=True)


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
    requests = entries(event.body.get("decision"), "requests")
    return [event.subject, event.body.get("scan_id", event.subject), *(r["request_id"] for r in requests)]


def entries(value: Any, name: str) -> list[dict[str, Any]]:
    """A list of objects in an object, empty where there is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def say(sentence: str) -> None:
    """One line on the terminal, as it stands, however long."""
    OUT.print(sentence, markup=False, highlight=False, soft_wrap=True)
