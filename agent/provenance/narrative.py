"""Accounts: what a history tells of one thing, in words, and as an object for programs."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from agent.history.event_log import Event
from agent.schema import event_kinds as kinds

#: What each kind of event says.
WORDS = {
    kinds.RUN_STARTED: "an agent took up the run",
    kinds.RUN_RECOVERED: "the agent found what was left of the run",
    kinds.INSTRUMENT_CONNECTED: "the instrument said hello",
    kinds.SCAN_RECEIVED: "the scan came in",
    kinds.SEARCH_CANCELLED: "the search on the scan was given up",
    kinds.CANDIDATES_SCORED: "all candidates had been judged",
    kinds.DECISION_MADE: "the decision was made",
    kinds.DECISION_DEEPENED: "the scan was searched once more, with more effort; nothing of that was sent",
    kinds.REQUESTS_REFUSED: "places were refused",
    kinds.APPROVAL_ASKED: "a person was asked to approve",
    kinds.APPROVAL_GIVEN: "the places were let pass",
    kinds.APPROVAL_REJECTED: "the places were rejected",
    kinds.RECOMMENDATION_READY: "the recommendation got its number",
    kinds.RECOMMENDATION_SENT: "the recommendation was sent",
    kinds.RECOMMENDATION_ACKNOWLEDGED: "the instrument acknowledged the recommendation",
    kinds.RESULT_RECEIVED: "a result came in",
    kinds.LIMIT_EXCEEDED: "a limit was exceeded",
    kinds.COMMAND_GIVEN: "a command was given",
    kinds.COMMAND_ACKNOWLEDGED: "the instrument obeyed the command",
    kinds.MESSAGE_REFUSED: "a message was refused",
    kinds.MESSAGE_REPEATED: "a message came a second time and was not acted on again",
    kinds.CLIENT_DENIED: "somebody was not let in",
    kinds.INSTRUMENT_TROUBLED: "the instrument told of a trouble",
    kinds.INSTRUMENT_LOST: "the instrument went silent",
    kinds.INSTRUMENT_BACK: "the instrument was heard of again",
    kinds.INSTRUMENT_LEFT: "the instrument left",
    kinds.CLOCK_STEPPED: "the clock was set, or the computer slept",
    kinds.JOB_TROUBLED: "a job of the agent was not done as planned",
    kinds.RUN_STOPPED: "the agent stopped",
    kinds.HISTORY_MIGRATED: "the history was brought to a newer schema",
    kinds.HEAD_RENEWED: "the head file was begun anew",
    kinds.ARRAYS_RELEASED: "arrays that nothing rests on were released",
}
_SAID = ("by", "reason", "instrument_id", "scan_id", "decision_id", "settings", "orphans")
_LONG = (
    kinds.RUN_STARTED,
    kinds.RUN_RECOVERED,
    kinds.SCAN_RECEIVED,
    kinds.DECISION_MADE,
    kinds.RESULT_RECEIVED,
    kinds.CANDIDATES_SCORED,
)
_QUOTED = 200  # lines


@dataclass(frozen=True)
class Section:
    """A heading with sentences, or with the rows of a table under them.

    Parameters
    ----------
    title
        What it is about.
    sentences
        Each a line of its own.
    rows
        Of a table; the first one holds its headings.
    quoted
        A text that is shown as it stands.
    """

    title: str
    sentences: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    quoted: str = ""


@dataclass(frozen=True)
class Narrative:
    """What is told of one thing.

    Parameters
    ----------
    about
        "decision", "scan", "request", "instrument", "run" or "event".
    identifier
        Its id.
    title
        The heading of all.
    sections
        In the order of reading.
    facts
        The same for programs.
    """

    about: str
    identifier: str
    title: str
    sections: tuple[Section, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Plain text that reads as Markdown, too."""
        yield f"# {self.title}"
        for section in self.sections:
            if not section.sentences and len(section.rows) < 2 and not section.quoted:
                continue
            yield ""
            if section.title:
                yield f"## {section.title}"
                yield ""
            yield from (f"- {sentence}" for sentence in section.sentences)
            if len(section.rows) > 1:
                if section.sentences:
                    yield ""
                yield from _table(section.rows)
            if section.quoted:
                yield from ("```", *section.quoted.splitlines()[:_QUOTED], "```")

    def told(self) -> dict[str, Any]:
        """As an object for programs."""
        sections = [asdict(section) for section in self.sections]
        return {"about": self.about, "id": self.identifier, "title": self.title, "sections": sections, "facts": self.facts}


def _table(rows: tuple[tuple[str, ...], ...]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for i, row in enumerate(rows):
        cells = (cell.replace("|", "/").ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"| {' | '.join(cells)} |"
        if i == 0:
            yield f"|{'|'.join('-' * (width + 2) for width in widths)}|"


def happened(event: Event) -> str:
    """An event in one sentence: when, what, by whom and why; also of kinds that are not known here."""
    body = event.body
    what = WORDS.get(event.kind, event.kind.replace("_", " "))
    if event.kind == kinds.RESULT_RECEIVED:
        what = f"the result of {event.subject} came in: {body.get('status')}"
    by = f" by {body['by']}" if body.get("by") else ""
    reason = f": {body['reason']}" if body.get("reason") else ""
    facts = "" if event.kind in _LONG else ", ".join(_facts(body))
    return f"{at(event.recorded_at)} (event {event.seq}): {what}{by}{reason}{f' ({facts})' if facts else ''}"


def _facts(body: Mapping[str, Any]) -> Iterator[str]:
    """What else stands in a body, as far as it is short; of lists, how long they are."""
    for key, value in body.items():
        if key in _SAID or value in (None, [], {}, ""):
            continue
        if isinstance(value, str | int | float):
            yield f"{key} {value}"
        elif isinstance(value, list):
            yield f"{len(value)} {key}"


def at(time: datetime) -> str:
    """A time as it is read."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def length(metres: float | None) -> str:
    """A length in the unit that suits it."""
    if metres is None:
        return "-"
    for unit, size in (("mm", 1e-3), ("µm", 1e-6), ("nm", 1e-9)):
        if abs(metres) >= size:
            return f"{metres / size:.4g} {unit}"
    return f"{metres * 1e9:.2g} nm"


def place(x_m: float, y_m: float) -> str:
    """A place in micrometres."""
    return f"x {x_m * 1e6:.4f} µm, y {y_m * 1e6:.4f} µm"


def number(value: float | None, digits: int = 3) -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None else f"{value:.{digits}f}"


def counted(n: int, noun: str) -> str:
    """Such as "1 scan", "3 scans"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
