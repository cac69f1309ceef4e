"""Run directories: their names and files, and the newest run as the default."""

from datetime import UTC, datetime
from pathlib import Path

from agent.errors import HistoryError

RUNS = Path("runs")  # searched if no run directory is given
DATABASE = "history.sqlite"
STATE_FILE = "service.json"
TOKEN_FILE = "control.token"  # noqa: S105 - a name, not a secret


def new_run_directory(prefix: str = "") -> Path:
    """`<RUNS>/<prefix><time>`; the directory is not created."""
    return RUNS / f"{prefix}{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def newest_runs() -> list[Path]:
    """All runs in `RUNS`, the most recently written first."""
    databases = RUNS.glob(f"*/{DATABASE}") if RUNS.is_dir() else ()
    return [path.parent for path in sorted(databases, key=lambda path: path.stat().st_mtime, reverse=True)]


def page_address(http: str, run_directory: Path) -> str:
    """Address of the dashboard, with the token in the URL fragment, which a browser never sends over the network."""
    try:
        token = (run_directory / TOKEN_FILE).read_text(encoding="ascii")
    except OSError:
        return f"{http}/"
    return f"{http}/#token={token}"


def named_or_newest(run: Path | None) -> Path:
    """The given run directory, or by default the one whose history was written last.

    Raises
    ------
    HistoryError
        If no run is given and `RUNS` holds none.
    """
    if run is not None:
        return run
    runs = newest_runs()
    if not runs:
        raise HistoryError(f"there is no run in {RUNS.resolve()}; name a run directory with --run")
    return runs[0]
