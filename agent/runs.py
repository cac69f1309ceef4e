"""Which run is meant where none is named: the newest in `./runs`."""

from pathlib import Path

from agent.run_directories import RUNS, newest
from agent.workflow.errors import HistoryError


def run_directory(run: Path | None) -> Path:
    """The given run directory, or the one whose history was written last.

    Raises
    ------
    HistoryError
        If none is given and there is none.
    """
    if run is not None:
        return run
    held = newest()
    if not held:
        raise HistoryError(f"there is no run in {RUNS.resolve()}; name a run directory with --run")
    return held[0]
