"""Which run is meant where none is named: the newest in `./runs`."""

from pathlib import Path

from agent.history import DATABASE, RUNS, HistoryError


def run_directory(run: Path | None) -> Path:
    """The given run directory, or the one whose history was written last.

    Raises
    ------
    HistoryError
        If none is given and there is none.
    """
    if run is not None:
        return run
    held = sorted(RUNS.glob(f"*/{DATABASE}"), key=lambda path: path.stat().st_mtime) if RUNS.is_dir() else []
    if not held:
        raise HistoryError(f"there is no run in {RUNS.resolve()}; name a run directory with --run")
    return held[-1].parent
