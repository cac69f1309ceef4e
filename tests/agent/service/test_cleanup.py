import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from agent.history.array_store import ArrayStore
from agent.service.cleanup import reap_workers, remove_torn_files
from tests.support.workers_contract import wait_for


def torn(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    return path


def test_unfinished_files_of_a_killed_agent_are_removed_and_nothing_else(tmp_path: Path) -> None:
    whole = ArrayStore(tmp_path / "arrays")
    digest = whole.put(np.arange(3))
    folder, other = tmp_path / "arrays" / digest[:2], os.getpid() + 1
    gone = [torn(folder / f".{digest}.npy.{other}"), torn(tmp_path / "work" / f"0123abcd.{other}.part")]
    # A file with our own process id is ours, unless it is older than any write takes.
    ours = torn(folder / f".{digest}.npy.{os.getpid()}")
    old = torn(tmp_path / "arrays" / "00" / f".00ff.npy.{os.getpid()}")
    os.utime(old, (0, 0))
    kept = torn(tmp_path / "work" / "0123abcd.npz")
    assert remove_torn_files(tmp_path) == 3
    assert not any(path.exists() for path in [*gone, old])
    assert ours.exists()
    assert kept.exists()
    assert whole.get(digest).tolist() == [0, 1, 2]
    assert remove_torn_files(tmp_path / "nothing here") == 0


def test_the_names_of_temporary_files_are_those_that_the_stores_use(tmp_path: Path) -> None:
    """A kill in the middle of a write leaves a file that the next agent removes."""
    code = (
        "import os, signal, sys; from pathlib import Path; import numpy as np; from agent.history.event_log import ArrayStore\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "ArrayStore(Path(sys.argv[1])).put(np.arange(3))"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "arrays")], check=False)
    assert len([p for p in (tmp_path / "arrays").rglob("*") if p.is_file()]) == 1
    assert remove_torn_files(tmp_path) == 1


def test_dead_workers_are_reaped() -> None:
    process = multiprocessing.get_context("spawn").Process(target=os.getpid)
    process.start()
    assert process.pid is not None
    wait_for(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z")
    reap_workers()
    assert not Path(f"/proc/{process.pid}").exists()
