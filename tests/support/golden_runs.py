"""Runs that the real service wrote (tests/golden/history/make.py), copied so that a test may do with them what it likes."""

import shutil
from pathlib import Path

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "history"
VERSIONS = ("v1", "v2")  # of the same events
LATER = ("v2-approvals",)  # of schema 2, with what people and policy have to say


def golden_run(directory: Path, version: str = "v2") -> Path:
    """A copy of a golden run."""
    run = directory / f"golden-{version}"
    shutil.copytree(GOLDEN / version, run)
    return run
