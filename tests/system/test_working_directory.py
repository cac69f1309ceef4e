"""Commands in a folder whose files are called like modules: none of them runs, neither in the command nor in its children."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.data.recordings import write_nsid
from tests.support.history.hand_made_run import hand_made_run

ROOT = Path(__file__).resolve().parents[2]
PROMISE = "No module of the working directory runs, in the command or in a child."
MODULES = ("h5py", "signal", "numpy", "struct", "argparse", "threading", "json", "multiprocessing", "scipy", "typer", "zmq")
PACKAGES = ("simulators", "instrument_adapters", "rewards")
SCRIPT = """
from agent.workers.factory import workers_for

def add(a, b, *, stopped):
    return a + b

if __name__ == "__main__":
    with workers_for(1) as workers:
        print(workers.submit(add, 1, 2).result())
"""
VAESTAR = ("-P", "-c", "from agent.cli import main; main()")  # what the installed command does


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with traps: each notes that it ran, and ends the process."""
    found = tmp_path / "measurements"
    found.mkdir()
    trap = f"import os\nopen({str(tmp_path / 'ran')!r}, 'a').write(__name__ + chr(10))\nos._exit(99)\n"
    for name in MODULES:
        (found / f"{name}.py").write_text(trap)
    for name in PACKAGES:
        (found / name).mkdir()
        (found / name / "__init__.py").write_text(trap)
    return found


def run(folder: Path, *command: object) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    ran = folder.parent / "ran"
    assert not ran.exists(), f"{ran.read_text()} ran: {done.stderr}"
    return done


@pytest.mark.attack("A command is given in a folder with h5py.py, signal.py and a folder simulators/", promise=PROMISE)
@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ((*VAESTAR, "simulate", "--print-config"), "[frame]"),
        ((*VAESTAR, "adapter", "--help"), "watches a folder"),
        (("-m", "agent", "history", "list", "--run", "../run"), "run_started"),
        (("-m", "simulators", "--print-config"), "[frame]"),
        (("-m", "instrument_adapters", "--help"), "watches a folder"),
    ],
    ids=["simulate", "adapter", "-m agent", "-m simulators", "-m instrument_adapters"],
)
def test_no_module_of_the_working_directory_runs(folder: Path, command: tuple[str, ...], shown: str) -> None:
    hand_made_run(folder.parent / "run")
    if command[0] == "-m":  # Python itself looks for that one in the working directory first
        shutil.rmtree(folder / command[1], ignore_errors=True)
    done = run(folder, *command)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout


@pytest.mark.attack("A scan is read in a folder with h5py.py and signal.py", promise=PROMISE)
def test_none_runs_in_the_reader_of_hdf5_files(folder: Path) -> None:
    script = folder.parent / "script.py"
    script.write_text("from instrument_adapters.formats.scan_file import read_scan\nprint(read_scan('a.h5').frame.rows)\n")
    write_nsid(folder / "a.h5")
    done = run(folder, script)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


@pytest.mark.attack("Workers are started in a folder with multiprocessing.py and signal.py", promise=PROMISE)
def test_none_runs_in_worker_processes(folder: Path) -> None:
    script = folder.parent / "script.py"
    script.write_text(SCRIPT)
    done = run(folder, script)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_a_copied_program_runs_from_its_own_folder(tmp_path: Path) -> None:
    """As on a microscope's computer to which the folder was copied: there the working directory is the program's own."""
    copy = tmp_path / "instrument_adapters"
    shutil.copytree(ROOT / "instrument_adapters", copy)
    main = copy / "__main__.py"
    main.write_text(main.read_text("utf-8").replace("watches a folder for new scans", "this is the copy"), "utf-8")
    done = run(tmp_path, "-m", "instrument_adapters", "--help")
    assert "this is the copy" in done.stdout
