"""Where runs are kept, and what lies in a run directory."""

from datetime import UTC, datetime
from pathlib import Path

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
