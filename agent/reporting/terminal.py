"""Terminal output: progress bars, tables, and plain lines."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from agent.schema.decision import DecisionRecord

Report = Callable[[str, int, int], None]  # stage, done, total
OUT = Console()
ERR = Console(stderr=True)


@contextmanager
def search_progress(console: Console = ERR) -> Iterator[Report]:
    """Progress bars, one for each stage; yields a function of (stage, done, total). Silent if the console is not a terminal."""
    columns = (SpinnerColumn(), TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total)
            bars.update(tasks[stage], completed=done)

        yield report


@contextmanager
def progress_bar(stage: str, console: Console = ERR) -> Iterator[Callable[[int, int], None]]:
    """One progress bar; yields a function of (done, total). Silent if the console is not a terminal."""
    with search_progress(console) as report:
        yield lambda done, total: report(stage, done, total)


def cluster_table(record: DecisionRecord) -> Table:
    """Table of the clusters with share, core points, number of requests, and position of the most typical one."""
    types = "1 microstructure type" if len(record.clusters) == 1 else f"{len(record.clusters)} microstructure types"
    table = Table(title=f"{record.scan_id}: {types}", title_justify="left", box=SIMPLE)
    for heading in ("cluster", "share", "points", "core", "recommended", "most typical at x, y (µm)"):
        table.add_column(heading, justify="left" if heading == "cluster" else "right")
    total = max(sum(c.points for c in record.clusters), 1)
    for cluster in record.clusters:
        requests = [r for r in record.requests if r.cluster == cluster.cluster]
        first = f"{requests[0].x_m * 1e6:.3f}, {requests[0].y_m * 1e6:.3f}" if requests else "-"
        row = (cluster.cluster, f"{cluster.points / total:.0%}", cluster.points, cluster.core_points, len(requests), first)
        table.add_row(*(str(cell) for cell in row))
    return table


def print_line(sentence: str) -> None:
    """Print a line without markup, highlighting or wrapping."""
    OUT.print(sentence, markup=False, highlight=False, soft_wrap=True)


def print_columns(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in aligned columns, one line each: a table of the terminal library takes a millisecond for each row."""
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    for row in (headings, *rows):
        OUT.file.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")
