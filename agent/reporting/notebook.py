"""Decisions and runs as objects for a notebook or a script: arrays as numpy, tables as records, plots as matplotlib axes.

    from agent import analyze, History

    a = analyze("scan_0001.ibw")
    a.plot()                          # the scan with types and places
    pandas.DataFrame(a.places)
    run = History("runs/monday")
    run.decisions[-1].plot("loops")

Nothing here writes to a run.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any, overload

import numpy as np

from agent.errors import HistoryError
from agent.history.event_log import Event
from agent.history.event_log import History as Store
from agent.history.measured_curves import Measured, measured_in
from agent.history.readers import decision_in, scan_behind, scan_in, trusted
from agent.reporting.figure_output import FigureKind, axes_of, figure_of, png_tag
from agent.schema import event_kinds as kinds
from agent.schema.decision import Decision, DecisionRecord
from agent.schema.model_kinds import label
from instrument_adapters.scan import Scan

Records = list[dict[str, Any]]


@dataclass(frozen=True, eq=False, repr=False)
class Analysis:
    """A scan and what was decided on it.

    Parameters
    ----------
    scan
        The scan.
    decision
        What was decided, with its arrays.
    measured
        What has been measured at its places so far.
    """

    scan: Scan
    decision: Decision
    measured: Sequence[Measured] = field(default=())

    @property
    def record(self) -> DecisionRecord:
        """Everything of the decision that is not an array."""
        return self.decision.record

    @property
    def explanation(self) -> str:
        """The decision in words."""
        return self.record.explanation

    @property
    def types(self) -> int:
        """How many microstructure types were told apart; 0 where nothing was resolved."""
        return len(self.record.clusters)

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """`points_rc`, `z`, `labels`, `core`, `core_distance`, `latents`: see `agent.schema.decision.Decision`."""
        return self.decision.arrays

    @property
    def image(self) -> np.ndarray:
        """The channel that was analysed, shape (rows, cols), in its unit."""
        return self.scan.channels[self.scan.find_channel(self.record.channel or None)]

    @property
    def places(self) -> Records:
        """The recommended places in the order of measuring, in metres, with what became of each."""
        became = {m.request_id: m for m in self.measured}
        rows = []
        for request in self.record.requests:
            result = became.get(request.request_id)
            rows.append(
                request.model_dump() | {"status": result.status if result else "", "reason": result.reason if result else ""}
            )
        return rows

    @property
    def clusters(self) -> Records:
        """The types: share of the key points, how many are core, and the Gaussian in the latent space."""
        total = max(sum(c.points for c in self.record.clusters), 1)
        return [c.model_dump() | {"share": c.points / total} for c in self.record.clusters]

    @property
    def configurations(self) -> Records:
        """What was compared, best first."""
        return [{"kind": label(c.invariance, c.variant)} | c.model_dump() for c in self.record.configurations]

    @property
    def candidates(self) -> Records:
        """Every model that was trained, with its metrics in columns of their own."""
        return [c.model_dump(exclude={"metrics"}) | dict(c.metrics) for c in self.record.candidates]

    @property
    def results(self) -> Records:
        """What was measured, a row a result, without the curves; these are in `measured`."""
        return [m.record() for m in self.measured]

    def plot(self, kind: FigureKind = "scan") -> Any:
        """Axes of a figure, matplotlib's: "scan", "latent", "reward", "latent_grid", "patches", "pareto" or "loops".

        Raises
        ------
        FigureError
            If there is no such figure, or the decision cannot show it.
        """
        return axes_of(self.scan, self.decision, self.measured, kind)

    def save(self, directory: Path | str) -> list[Path]:
        """Write the table of places, the record and all figures, as `vaestar analyze` does."""
        from agent.reporting.decision_files import write_report

        return write_report(self.scan, self.decision, Path(directory))

    def __repr__(self) -> str:
        return f"<Analysis of {self.record.scan_id}: {_in_short(self.record)}>"

    def _repr_html_(self) -> str:
        picture = png_tag(figure_of(self.scan, self.decision, self.measured, "scan"), f"scan {self.record.scan_id}")
        return f"<p><b>{escape(self.record.scan_id)}</b>: {escape(self.explanation)}</p>{picture}"


class Decisions(Sequence[Analysis]):
    """The decisions of a run in order, read when they are asked for: by number or by id.

    Parameters
    ----------
    store
        The run.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def _events(self) -> list[Event]:
        return list(self._store.events(kind=kinds.DECISION_MADE))

    def __len__(self) -> int:
        return len(self._events)

    @overload
    def __getitem__(self, index: int | str) -> Analysis: ...
    @overload
    def __getitem__(self, index: slice) -> list[Analysis]: ...
    def __getitem__(self, index: int | str | slice) -> Analysis | list[Analysis]:
        events = self._events
        if isinstance(index, slice):
            return [self._read(event) for event in events[index]]
        if isinstance(index, int):
            return self._read(events[index])
        found = [e for e in events if index in (e.subject, e.body.get("scan_id")) or e.subject.startswith(index)]
        if len(found) != 1:
            held = ", ".join(e.subject for e in events[-5:]) or "none"
            raise HistoryError(f"'{index}' names {len(found)} decisions; name one by its id, such as {held}")
        return self._read(found[0])

    def __iter__(self) -> Iterator[Analysis]:
        return (self._read(event) for event in self._events)

    def _read(self, event: Event) -> Analysis:
        where = event.body["scan_id"], event.body["instrument_id"]
        return Analysis(scan_behind(self._store, event), decision_in(self._store, event), tuple(measured_in(self._store, *where)))

    def __repr__(self) -> str:
        return f"<{len(self)} decisions: {', '.join(e.subject for e in self._events)}>"


class History:
    """A run for reading; works while an agent writes to it.

    Parameters
    ----------
    directory
        Of the run.

    Raises
    ------
    HistoryError
        If there is no history there, or it cannot be read.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self._store = Store(self.directory, read_only=True)

    @property
    def decisions(self) -> Decisions:
        """All decisions, oldest first."""
        return Decisions(self._store)

    @property
    def scans(self) -> list[Scan]:
        """All scans, oldest first."""
        return [scan_in(self._store, event) for event in self._store.events(kind=kinds.SCAN_RECEIVED)]

    @property
    def measured(self) -> list[Measured]:
        """All results with their curves, in the order in which they came."""
        return list(measured_in(self._store))

    @property
    def results(self) -> Records:
        """The same as rows of a table, without the curves."""
        return [m.record() for m in self.measured]

    def events(self, kind: str | None = None) -> Records:
        """Everything that happened, or all events of one kind: number, time, kind, subject and body."""
        return [
            {"seq": e.seq, "recorded_at": e.recorded_at, "kind": e.kind, "subject": e.subject, "body": e.body}
            for e in self._store.events(kind=kind)
        ]

    def verify(self) -> list[str]:
        """What is not as it was written, a sentence each; empty if nothing is."""
        return self._store.verify()

    def plot(self, kind: FigureKind = "scan") -> Any:
        """A figure of the newest decision; see `Analysis.plot`."""
        if not len(self.decisions):
            raise HistoryError(f"the run in {self.directory} holds no decision yet, so there is nothing to plot")
        return self.decisions[-1].plot(kind)

    def close(self) -> None:
        """Release the files."""
        self._store.close()

    def __enter__(self) -> "History":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        counts = [(self._count(kinds.SCAN_RECEIVED), "scan"), (self._count(kinds.DECISION_MADE), "decision")]
        counts.append((self._count(kinds.RESULT_RECEIVED), "result"))
        said = ", ".join(f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in counts)
        return f"<History of {self.directory}: {said}, {len(self._store)} events>"

    def _repr_html_(self) -> str:
        rows = []
        for event in self._store.events(kind=kinds.DECISION_MADE):
            with trusted(event):
                record = DecisionRecord.model_validate(event.body["decision"])
            cells = (f"{event.recorded_at:%Y-%m-%d %H:%M:%S}", record.scan_id, record.decision_id, _in_short(record))
            rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
        heads = "".join(f"<th>{h}</th>" for h in ("decided (UTC)", "scan", "decision", "what"))
        return f"<p>{escape(repr(self)[1:-1])}</p><table><tr>{heads}</tr>{''.join(rows)}</table>"

    def _count(self, kind: str) -> int:
        return sum(1 for _ in self._store.events(kind=kind))


def _in_short(record: DecisionRecord) -> str:
    if not record.clusters:
        return record.outcome.replace("_", " ")
    chosen = next(c for c in record.candidates if c.candidate_id == record.chosen)
    types, places = len(record.clusters), len(record.requests)
    kind = label(chosen.invariance, chosen.variant)
    found = "one type only" if record.outcome == "one_type_only" else f"{types} types"
    return f"{found} by {kind}, window {chosen.window_px} px; {places} places recommended"
