"""Runs of the command as a user would start it."""

import os
import subprocess
import sys
from pathlib import Path

QUICK = """
[search]
windows_px = [5, 7]
invariances = ["v", "r"]
seeds = 2
workers = {workers}
drop_elbo_per_px = 1.0

[train]
steps = 60

[guards]
collapse_below = 0.0
elbo_gap_per_px = 1.0

[reward_options]
restarts = 2
"""


def quick_config(directory: Path, *, workers: int = 0, head: str = "") -> Path:
    """A configuration whose search takes seconds."""
    path = directory / "quick.toml"
    path.write_text(head + QUICK.format(workers=workers), encoding="utf-8")
    return path


def vaestar(*arguments: object, timeout_s: float = 120, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """The finished command with what it printed."""
    command = [sys.executable, "-m", "agent", *(str(a) for a in arguments)]
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root), "COLUMNS": "120", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, cwd=cwd or root, env=environment, check=False
    )
