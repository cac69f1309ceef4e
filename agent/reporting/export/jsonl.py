"""Export as JSON lines: a header, then one line for each event with everything that its hash covers."""

import json
from collections.abc import Iterator

from agent.history.database import SCHEMA_VERSION
from agent.history.event_log import Event, History
from agent.history.filters import EventFilter, filtered_events
from agent.schema.decision import versions

FORMAT = "vaestar-history"
_RULE = (
    "hash = sha256 of JSON [hash before, seq, recorded_at, kind, subject, once, body, arrays] with body and arrays as JSON text "
    "(keys sorted, no spaces, not ASCII only); the hash before event 1 is 64 zeros; arrays: name -> sha256 of the .npy file"
)


def json_lines(history: History, event_filter: EventFilter) -> Iterator[str]:
    """The lines in ASCII, without line ends."""
    yield json.dumps(
        {
            "format": FORMAT,
            "version": 1,
            "schema": SCHEMA_VERSION,
            "vaestar": versions()["vaestar"],
            "run": history.run_directory.name,
            "part": str(event_filter),
            "head": str(history.head),
            "rule": _RULE,
        }
    )
    for event in filtered_events(history, event_filter):
        yield json.dumps(event_as_json(event))


def event_as_json(event: Event) -> dict[str, object]:
    """An event as a JSON object."""
    return {
        "seq": event.seq,
        "recorded_at": event.recorded_at.isoformat(),
        "kind": event.kind,
        "subject": event.subject,
        "once": event.once,
        "body": event.body,
        "arrays": event.arrays,
        "hash": event.hash,
    }
