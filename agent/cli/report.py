"""`vaestar report`: an HTML report on one decision or all decisions of a run, with its provenance."""

from collections.abc import Sequence
from pathlib import Path

from agent.errors import HistoryError, IncompleteError, ReportError
from agent.history.event_log import Event
from agent.history.event_log import History as Store
from agent.history.run_directory import DATABASE, RUNS, named_or_newest, newest_runs
from agent.reporting.decision_files import write_file
from agent.reporting.drawing import drawings
from agent.reporting.html_report import page
from agent.reporting.notebook import Analysis, History
from agent.reporting.terminal import Report, print_line, search_progress
from agent.schema import event_kinds as kinds
from instrument_adapters.errors import plain_reason

FORMATS = ("png", "svg", "pdf")
_REPORTED_KINDS = (kinds.MESSAGE_REFUSED, kinds.SEARCH_CANCELLED, kinds.CLIENT_DENIED, kinds.INSTRUMENT_TROUBLED)
_MAX_EVENTS = 200


def write_html(what: str, run: Path | None, out: Path | None, figures: Path | None, form: str) -> None:
    """Write the report on a decision, or on all decisions of a run, and print its path.

    Parameters
    ----------
    what
        Id of a decision or scan, or a run directory; empty for the whole run.
    run
        Run directory, if `what` is an id.
    out
        Path of the report; by default named after the decision or run, in the working directory.
    figures
        Folder for separate figures; None: no separate figures.
    form
        Format of the separate figures: "png", "svg" or "pdf".

    Raises
    ------
    ReportError
        If it cannot be written.
    IncompleteError
        At the end, if a figure could not be drawn, or a decision could not be read back; each is named.
    HistoryError
        If the run has no such decision, or the history cannot be read.
    """
    if form not in FORMATS:
        raise ReportError(f"{form!r} is not a format of figures; choose one of {', '.join(FORMATS)}")
    named = Path(what) if what and (Path(what) / DATABASE).is_file() else None
    directory = named or _run_of(what, run)
    one = what if named is None else ""
    with History(directory) as history, search_progress() as progress:
        analyses, problems = _analyses(history, one, progress)
        name = analyses[0].record.decision_id if one else directory.resolve().name
        with Store(directory, read_only=True) as store:
            notes = [*problems, *_relevant_events(store, analyses, one)]
            report = page(_title(analyses, name), analyses, _provenance(store, directory), notes)
    text, problems = report.html, [*problems, *report.problems]
    path = write_file(out or Path(f"{name}.html"), text.encode())
    print_line(f"{path}  {len(text) / 1e6:.1f} MB, {len(analyses)} decisions")
    if figures is not None:
        written = [path for analysis in analyses for path in _draw(analysis, figures, form, problems)]
        print_line(f"{len(written)} figures in {figures}")
    if problems:
        raise IncompleteError("\n".join(dict.fromkeys(problems)) + f"\nthe rest of the report is complete: {path}")


def _run_of(what: str, run: Path | None) -> Path:
    """The run of a decision or scan that was named, or of nothing."""
    if what and Path(what).exists():
        raise HistoryError(f"there is no history in {what} (no {DATABASE}); name a run directory, or a decision or scan of a run")
    if what and run is None and not newest_runs():
        raise HistoryError(
            f"'{what}' is not a run directory, and {RUNS.resolve()} holds no run of which it could be a decision or scan; "
            "name its run directory with --run"
        )
    return named_or_newest(run)


def _analyses(history: History, one: str, progress: Report) -> tuple[list[Analysis], list[str]]:
    """The decisions of the report, and a sentence for each that cannot be read back; one that was asked for by name must be."""
    if one:
        return [history.decisions[one]], []
    count = len(history.decisions)
    if not count:
        raise HistoryError(f"the run in {history.directory} has no decision yet, so there is nothing to report")
    analyses, problems = [], []
    for n in range(count):
        try:
            analyses.append(history.decisions[n])
        except HistoryError as error:
            problems.append(f"decision {n + 1} of {count} is missing: {error}")
        progress("decisions", n + 1, count)
    if not analyses:
        raise HistoryError(problems[0])
    return analyses, problems


def _title(analyses: Sequence[Analysis], name: str) -> str:
    if len(analyses) == 1:
        return f"Where to measure on {analyses[0].record.scan_id}, and why"
    return f"{len(analyses)} decisions of the run {name}"


def _provenance(store: Store, directory: Path) -> dict[str, str]:
    events = list(store.events())
    first = next(e for e in events if e.kind == kinds.RUN_STARTED)
    last = events[-1]
    return {
        "run": f"{first.subject}, in {directory}",
        "started": f"{first.recorded_at:%Y-%m-%d %H:%M:%S} UTC",
        "instruments": ", ".join(sorted({e.subject for e in events if e.kind == kinds.INSTRUMENT_CONNECTED})),
        "history": f"{len(events)} events, the last one {last.recorded_at:%Y-%m-%d %H:%M:%S} UTC; chain {last.seq}:{last.hash}",
    }


def _relevant_events(store: Store, analyses: Sequence[Analysis], one: str) -> list[str]:
    """Return lines on refused messages, cancelled searches, faults, and actions of operators."""
    ids = {name for a in analyses for name in (a.record.decision_id, a.record.scan_id)}
    lines = [
        f"{event.recorded_at:%Y-%m-%d %H:%M:%S} {event.kind.replace('_', ' ')} {event.subject}: {event.body.get('reason', '')}"
        + (f" (by {event.body['by']})" if event.body.get("by") else "")
        for event in store.events()
        if _is_relevant(event) and (not one or event.subject in ids or event.body.get("decision_id") in ids)
    ]
    omitted = len(lines) - _MAX_EVENTS
    return lines if omitted <= 0 else [*lines[:_MAX_EVENTS], f"and {omitted} more; see the history"]


def _is_relevant(event: Event) -> bool:
    return event.kind in _REPORTED_KINDS or bool(event.body.get("by"))


def _draw(analysis: Analysis, directory: Path, form: str, problems: list[str]) -> list[Path]:
    folder = directory / analysis.record.decision_id
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ReportError(f"figures cannot be written into {folder}: {plain_reason(error)}; choose another folder") from error
    written = []
    for drawing in drawings(analysis.scan, analysis.decision, analysis.measured, form):
        if drawing.content is None:
            problems.append(drawing.problem)
        else:
            written.append(write_file(folder / f"{drawing.kind}.{form}", drawing.content))
    return written
