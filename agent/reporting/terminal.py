"""Terminal output: progress bars, tables, and plain lines.

Everything that a command prints goes through this module or, where rich would take too long to load,
`instrument_adapters.command_line.output`: both show control characters as escapes. Text is never taken for markup.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE
from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderableType, RenderHook, RenderResult
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.table import Table

from agent.schema.decision import DecisionRecord
from instrument_adapters.command_line.output import flush_output, write_line
from instrument_adapters.plain_text import visible

Report = Callable[[str, int, int], None]  # stage, done, total


class _Cleaner(RenderHook):
    """Shows control characters as escapes in everything that a console prints, whoever made it."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Cleaned(one) for one in renderables]


class _Cleaned:
    def __init__(self, renderable: RenderableType) -> None:
        self._renderable = renderable

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for segment in console.render(self._renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(visible(segment.text, keep="\n"), segment.style)


_PLAIN: dict[str, Any] = {"markup": False, "emoji": False, "highlight": False}
OUT = Console(**_PLAIN)
ERR = Console(stderr=True, **_PLAIN)
for _console in (OUT, ERR):
    _console.push_render_hook(_Cleaner())


@contextmanager
def search_progress(console: Console = ERR) -> Iterator[Report]:
    """Progress bars, one for each stage; yields a function of (stage, done, total). Silent if the console is not a terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description:<10}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
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
    table = Table(title=f"{visible(record.scan_id)}: {types}", title_justify="left", box=SIMPLE)
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
    """Print one line as it is, but for characters that a terminal would obey (see `plain_text.visible`); it is not wrapped."""
    write_line(sentence)
    flush_output()
