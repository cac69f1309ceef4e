"""Where runs are kept, what lies in a run directory, and which run is meant where none is named: the newest."""

from datetime import UTC, datetime
from pathlib import Path

from agent.errors import HistoryError

RUNS = Path("runs")  # where runs are looked for when none is named
DATABASE = "history.sqlite"
STATE_FILE = "service.json"
TOKEN_FILE = "control.token"  # noqa: S105 - a name, not a secret


def new_run_directory(prefix: str = "") -> Path:
    """`<RUNS>/<prefix><time>`, not yet made."""
    return RUNS / f"{prefix}{datetime.now(UTC):%Y%m%dT%H%M%SZ}"


def newest() -> list[Path]:
    """All runs in `RUNS`, the one written to last first."""
    held = RUNS.glob(f"*/{DATABASE}") if RUNS.is_dir() else ()
    return [path.parent for path in sorted(held, key=lambda path: path.stat().st_mtime, reverse=True)]


def page_address(http: str, run_directory: Path) -> str:
    """The page's address, with the token in its fragment, which a browser sends to nobody."""
    try:
        token = (run_directory / TOKEN_FILE).read_text(encoding="ascii")
    except OSError:
        return f"{http}/"
    return f"{http}/#token={token}"


def named_or_newest(run: Path | None) -> Path:
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
