"""Narratives: everything that a history holds about one subject, as text for people and as JSON for programs."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from agent.history.event_log import Event
from agent.schema import event_kinds as kinds
from agent.schema.wording import result_remark

#: Each event kind as text.
EVENT_TEXTS = {
    kinds.RUN_STARTED: "an agent started on the run",
    kinds.RUN_RECOVERED: "the agent recovered the state of the run",
    kinds.INSTRUMENT_CONNECTED: "the instrument connected",
    kinds.SCAN_RECEIVED: "the scan was received",
    kinds.SEARCH_CANCELLED: "the search on the scan was cancelled",
    kinds.CANDIDATES_SCORED: "all candidates were scored",
    kinds.DECISION_MADE: "the decision was made",
    kinds.DECISION_DEEPENED: "the scan was searched again with more effort; the result was not sent",
    kinds.REQUESTS_REFUSED: "points were refused by the envelope",
    kinds.APPROVAL_ASKED: "an operator was asked for approval",
    kinds.APPROVAL_GIVEN: "the points were approved",
    kinds.APPROVAL_REJECTED: "the points were rejected",
    kinds.RECOMMENDATION_READY: "the recommendation got its sequence number",
    kinds.RECOMMENDATION_SENT: "the recommendation was sent",
    kinds.RECOMMENDATION_ACKNOWLEDGED: "the instrument acknowledged the recommendation",
    kinds.RESULT_RECEIVED: "a result was received",
    kinds.LIMIT_EXCEEDED: "a limit was exceeded",
    kinds.COMMAND_GIVEN: "a command was given",
    kinds.COMMAND_ACKNOWLEDGED: "the instrument acknowledged the command",
    kinds.MESSAGE_REFUSED: "a message was refused",
    kinds.MESSAGE_REPEATED: "a message was repeated and ignored",
    kinds.CLIENT_DENIED: "a client was denied access",
    kinds.INSTRUMENT_TROUBLED: "the instrument reported a fault",
    kinds.INSTRUMENT_LOST: "the instrument went silent",
    kinds.INSTRUMENT_BACK: "the instrument is back",
    kinds.INSTRUMENT_LEFT: "the instrument disconnected",
    kinds.CLOCK_STEPPED: "the clock was set, or the computer was suspended",
    kinds.JOB_TROUBLED: "a periodic job did not run as planned",
    kinds.RUN_STOPPED: "the agent stopped",
    kinds.HISTORY_MIGRATED: "the history was migrated to a newer schema",
    kinds.HEAD_RENEWED: "the head file was written anew",
    kinds.ARRAYS_RELEASED: "arrays that are no longer needed were released",
}
_SAID_ELSEWHERE = ("by", "reason", "instrument_id", "scan_id", "decision_id", "settings", "orphans")
_WITHOUT_DETAILS = (
    kinds.RUN_STARTED,
    kinds.RUN_RECOVERED,
    kinds.SCAN_RECEIVED,
    kinds.DECISION_MADE,
    kinds.RESULT_RECEIVED,
    kinds.CANDIDATES_SCORED,
)
_MOST_QUOTED = 200  # lines


@dataclass(frozen=True)
class NarrativeSection:
    """A heading with sentences, a table, or quoted text.

    Parameters
    ----------
    title
        Heading.
    sentences
        Sentences, each shown as a line.
    rows
        Rows of a table, headings first.
    quoted
        Text that is shown verbatim.
    """

    title: str
    sentences: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    quoted: str = ""


@dataclass(frozen=True)
class Narrative:
    """Everything that the history holds about one subject.

    Parameters
    ----------
    about
        Kind of thing: "decision", "scan", "request", "instrument", "run" or "event".
    identifier
        Id of the thing.
    title
        Heading of the narrative.
    sections
        Sections in reading order.
    facts
        The underlying data for programs.
    """

    about: str
    identifier: str
    title: str
    sections: tuple[NarrativeSection, ...]
    facts: dict[str, Any] = field(default_factory=dict)

    def lines(self) -> Iterator[str]:
        """Lines of plain text that are also valid Markdown."""
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
                yield from ("```", *section.quoted.splitlines()[:_MOST_QUOTED], "```")

    def as_json(self) -> dict[str, Any]:
        """The narrative as a JSON object."""
        sections = [asdict(section) for section in self.sections]
        return {"about": self.about, "id": self.identifier, "title": self.title, "sections": sections, "facts": self.facts}


def _table(rows: tuple[tuple[str, ...], ...]) -> Iterator[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for i, row in enumerate(rows):
        cells = (cell.replace("|", "/").ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"| {' | '.join(cells)} |"
        if i == 0:
            yield f"|{'|'.join('-' * (width + 2) for width in widths)}|"


def event_sentence(event: Event) -> str:
    """An event as one sentence with time, author and reason; unknown kinds are shown by name."""
    body = event.body
    what = EVENT_TEXTS.get(event.kind, event.kind.replace("_", " "))
    if event.kind == kinds.RESULT_RECEIVED:
        what = f"the result of {event.subject} was received: {body.get('status')}"
    by = f" by {body['by']}" if body.get("by") else ""
    said = result_remark(body)
    reason = f": {said}" if said else ""
    facts = "" if event.kind in _WITHOUT_DETAILS else ", ".join(_facts(body))
    return f"{timestamp(event.recorded_at)} (event {event.seq}): {what}{by}{reason}{f' ({facts})' if facts else ''}"


def _facts(body: Mapping[str, Any]) -> Iterator[str]:
    """The remaining short values of a body, and the lengths of lists."""
    for key, value in body.items():
        if key in _SAID_ELSEWHERE or value in (None, [], {}, ""):
            continue
        if isinstance(value, str | int | float):
            yield f"{key} {value}"
        elif isinstance(value, list):
            yield f"{len(value)} {key}"


def timestamp(time: datetime) -> str:
    """A time as text, in UTC."""
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"


def length(metres: float | None) -> str:
    """A length as text in mm, µm or nm."""
    if metres is None:
        return "-"
    for unit, size in (("mm", 1e-3), ("µm", 1e-6), ("nm", 1e-9)):
        if abs(metres) >= size:
            return f"{metres / size:.4g} {unit}"
    return f"{metres * 1e9:.2g} nm"


def place(x_m: float, y_m: float) -> str:
    """A position as text in micrometres."""
    return f"x {x_m * 1e6:.4f} µm, y {y_m * 1e6:.4f} µm"


def number(value: float | None, digits: int = 3) -> str:
    """A number as text, or a dash for None."""
    return "-" if value is None else f"{value:.{digits}f}"


def counted(n: int, noun: str) -> str:
    """A number with its noun, such as "1 scan" or "3 scans"."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
