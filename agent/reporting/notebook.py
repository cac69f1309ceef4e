"""Decisions and runs for notebooks and scripts: numpy arrays, tables as records, plots as matplotlib axes.

    from agent import analyze, History

    a = analyze("scan_0001.ibw")
    a.plot()                          # the scan with types and recommended points
    pandas.DataFrame(a.places)
    run = History("runs/monday")
    run.decisions[-1].plot("loops")

Nothing here writes to a run.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import numpy as np

from agent.errors import HistoryError
from agent.history.event_log import Event
from agent.history.event_log import History as Store
from agent.history.measured_curves import Measured, measured_in
from agent.history.readers import decided_scan, decision_in, reading_event, scan_in
from agent.reporting.drawing import drawings, png_tag
from agent.reporting.figure_kinds import FigureKind
from agent.schema import event_kinds as kinds
from agent.schema.decision import Decision, DecisionRecord
from agent.schema.model_kinds import label
from agent.schema.wording import OUTCOMES
from instrument_adapters.plain_text import as_html as escape
from instrument_adapters.plain_text import visible
from instrument_adapters.scan import Scan

Records = list[dict[str, Any]]


@dataclass(frozen=True, eq=False, repr=False)
class Analysis:
    """A scan with its decision and the results measured so far.

    Parameters
    ----------
    scan
        Scan that was analysed.
    decision
        Decision on it, with its arrays.
    measured
        Results at its points so far.
    """

    scan: Scan
    decision: Decision
    measured: Sequence[Measured] = field(default=())

    @property
    def record(self) -> DecisionRecord:
        """The decision without its arrays."""
        return self.decision.record

    @property
    def explanation(self) -> str:
        """Explanation of the decision."""
        return self.record.explanation

    @property
    def types(self) -> int:
        """Number of microstructure types found; 0 if nothing was resolved."""
        return len(self.record.clusters)

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Arrays `points_rc`, `z`, `labels`, `core`, `core_distance`, `latents`, as in `agent.schema.decision.Decision`."""
        return self.decision.arrays

    @property
    def image(self) -> np.ndarray:
        """The analysed channel, shape (rows, cols), in its own unit."""
        return self.scan.channels[self.scan.find_channel(self.record.channel or None)]

    @property
    def places(self) -> Records:
        """The recommended points in measuring order, in metres, with the status of each result."""
        results_by_id = {m.request_id: m for m in self.measured}
        rows = []
        for request in self.record.requests:
            result = results_by_id.get(request.request_id)
            rows.append(
                request.model_dump() | {"status": result.status if result else "", "reason": result.reason if result else ""}
            )
        return rows

    @property
    def clusters(self) -> Records:
        """The types, with share of the key points, number of core points, and Gaussian in the latent space."""
        total = max(sum(c.points for c in self.record.clusters), 1)
        return [c.model_dump() | {"share": c.points / total} for c in self.record.clusters]

    @property
    def configurations(self) -> Records:
        """The compared configurations, best first."""
        return [{"kind": label(c.invariance, c.variant)} | c.model_dump() for c in self.record.configurations]

    @property
    def candidates(self) -> Records:
        """Every candidate, with a column for each metric."""
        return [c.model_dump(exclude={"metrics"}) | dict(c.metrics) for c in self.record.candidates]

    @property
    def results(self) -> Records:
        """The results, one row each, without the curves (see `measured` for those)."""
        return [m.record() for m in self.measured]

    def plot(self, kind: FigureKind = "scan") -> Any:
        """Plot "scan", "latent", "reward", "latent_grid", "patches", "pareto" or "loops"; returns matplotlib axes.

        Raises
        ------
        FigureError
            If there is no figure of this kind, or the decision cannot show it.
        """
        from agent.reporting.figure_output import axes_of  # loads matplotlib

        return axes_of(self.scan, self.decision, self.measured, kind)

    def save(self, directory: Path | str) -> list[Path]:
        """Write the table of recommended points, the record and all figures, as `vaestar analyze` does; returns the paths.

        A figure that cannot be drawn or written is named in a warning; the record and the table are written all the same.

        Raises
        ------
        ReportError
            If the record or the table cannot be written.
        """
        from agent.reporting.decision_files import write_report

        written = write_report(self.scan, self.decision, Path(directory))
        for problem in written.problems:
            warnings.warn(problem, RuntimeWarning, stacklevel=2)
        return written.files

    def __repr__(self) -> str:
        return visible(f"<Analysis of {self.record.scan_id}: {_one_line(self.record)}>")

    def _repr_html_(self) -> str:
        drawn = next(drawings(self.scan, self.decision, self.measured, only="scan"))
        picture = f"<p>{escape(drawn.problem)}</p>" if drawn.content is None else png_tag(drawn.content, "scan of the decision")
        return f"<p><b>{escape(self.record.scan_id)}</b>: {escape(self.explanation)}</p>{picture}"


class Decisions(Sequence[Analysis]):
    """The decisions of a run in order, by number or by id; each is read from disk when it is accessed.

    Parameters
    ----------
    store
        History of the run.
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
            recent = ", ".join(e.subject for e in events[-5:]) or "none"
            raise HistoryError(f"'{index}' matches {len(found)} decisions; name one by its id, such as {recent}")
        return self._read(found[0])

    def __iter__(self) -> Iterator[Analysis]:
        return (self._read(event) for event in self._events)

    def _read(self, event: Event) -> Analysis:
        measured = tuple(measured_in(self._store, event.body["scan_id"], event.body["instrument_id"]))
        return Analysis(decided_scan(self._store, event), decision_in(self._store, event), measured)

    def __repr__(self) -> str:
        return visible(f"<{len(self)} decisions: {', '.join(e.subject for e in self._events)}>")


class History:
    """A run, opened for reading; this works while an agent writes to it.

    Parameters
    ----------
    directory
        Path of the run directory.

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
        """All results with their curves, in order of arrival."""
        return list(measured_in(self._store))

    @property
    def results(self) -> Records:
        """All results as table rows, without the curves."""
        return [m.record() for m in self.measured]

    def events(self, kind: str | None = None) -> Records:
        """All events, or those of one kind: sequence number, time, kind, subject and body."""
        return [
            {"seq": e.seq, "recorded_at": e.recorded_at, "kind": e.kind, "subject": e.subject, "body": e.body}
            for e in self._store.events(kind=kind)
        ]

    def verify(self) -> list[str]:
        """Faults of the history, one sentence each; empty if it is as it was written."""
        return self._store.verify()

    def plot(self, kind: FigureKind = "scan") -> Any:
        """Plot a figure of the newest decision; see `Analysis.plot`."""
        if not len(self.decisions):
            raise HistoryError(f"the run in {self.directory} holds no decision yet, so nothing can be plotted")
        return self.decisions[-1].plot(kind)

    def close(self) -> None:
        """Close the history."""
        self._store.close()

    def __enter__(self) -> "History":
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        counts = [(self._count(kinds.SCAN_RECEIVED), "scan"), (self._count(kinds.DECISION_MADE), "decision")]
        counts.append((self._count(kinds.RESULT_RECEIVED), "result"))
        summary = ", ".join(f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in counts)
        return visible(f"<History of {self.directory}: {summary}, {len(self._store)} events>")

    def _repr_html_(self) -> str:
        rows = []
        for event in self._store.events(kind=kinds.DECISION_MADE):
            with reading_event(event):
                record = DecisionRecord.model_validate(event.body["decision"])
            cells = (f"{event.recorded_at:%Y-%m-%d %H:%M:%S}", record.scan_id, record.decision_id, _one_line(record))
            rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
        heads = "".join(f"<th>{h}</th>" for h in ("decided (UTC)", "scan", "decision", "summary"))
        return f"<p>{escape(repr(self)[1:-1])}</p><table><tr>{heads}</tr>{''.join(rows)}</table>"

    def _count(self, kind: str) -> int:
        return sum(1 for _ in self._store.events(kind=kind))


def _one_line(record: DecisionRecord) -> str:
    if not record.clusters:
        return OUTCOMES[record.outcome]
    chosen = next(c for c in record.candidates if c.candidate_id == record.chosen)
    types, points = len(record.clusters), len(record.requests)
    kind = label(chosen.invariance, chosen.variant)
    types_found = OUTCOMES["one_type_only"] if record.outcome == "one_type_only" else f"{types} types"
    return f"{types_found} by {kind}, window {chosen.window_px} px; {points} points recommended"
