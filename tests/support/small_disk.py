"""A disk of four megabytes with room for a few files, where the tests may mount one."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Directory on a file system of its own, almost empty."""
    disk = tmp_path / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", "size=4m,nr_inodes=60", "tmpfs", str(disk)]
    try:
        done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False, timeout=20)
    except OSError as error:
        pytest.skip(f"no small disk can be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False, timeout=20)


def fill(disk: Path, lacks: str) -> list[Path]:
    """Use up the space of a disk, or its room for files; returns the files that do it."""
    made: list[Path] = []
    try:
        while True:
            made.append(disk / f"filler-{len(made)}")
            made[-1].write_bytes(b"x" * (50_000 if lacks == "space" else 0))
    except OSError:
        return [path for path in made if path.exists()]
