"""The command line that all benchmarks share, and what is remembered of an interrupted run."""

import argparse
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

REPOSITORY = Path(__file__).resolve().parents[2]
_SOURCES = ("agent", "rewards", "simulators", "instrument_adapters", "benchmarks")
INTERRUPTED = 130
CONSOLE = Console(stderr=True)
Task = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class CannotRunError(RuntimeError):
    """The benchmark lacks something; the message says what to do."""


def parser(description: str | None, seeds: str) -> argparse.ArgumentParser:
    """`--quick`, `--seeds`, `--out` and `--scan`."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--out", type=Path, required=True, help="directory of the JSON and the Markdown file")
    made.add_argument("--quick", action="store_true", help="at most five minutes on two cores: fewer of everything")
    made.add_argument("--seeds", type=seed_range, default=seed_range(seeds), help=f"FIRST-LAST (default {seeds})")
    made.add_argument("--scan", type=Path, help="recorded scan to use (default: a real one if at hand, else a simulated one)")
    return made


def seed_range(text: str) -> tuple[int, ...]:
    """The seeds of "100-109" or "7"."""
    first, _, last = text.partition("-")
    try:
        seeds = tuple(range(int(first), int(last or first) + 1))
    except ValueError:
        seeds = ()
    if not seeds:
        raise argparse.ArgumentTypeError(f"seeds are {text!r}; give FIRST-LAST, such as 100-109")
    return seeds


def run(main: Callable[[], None]) -> None:
    """Call `main`; Ctrl-C and what is lacking end in one sentence."""
    try:
        main()
    except KeyboardInterrupt:
        CONSOLE.print("interrupted; what was finished is kept, the same command goes on from there", highlight=False)
        raise SystemExit(INTERRUPTED) from None
    except CannotRunError as error:
        sys.exit(str(error))


class Journal:
    """Finished units of a run, one JSON line each, so that an interrupted run goes on where it stopped.

    Parameters
    ----------
    path
        Beside the output; removed when the run is complete.
    question
        What the units depend on. A journal of another question, or of other source code, is refused.

    Raises
    ------
    CannotRunError
        If the file holds the units of something else.
    """

    def __init__(self, path: Path, question: dict[str, Any]) -> None:
        self._path = path
        self._units: dict[str, Any] = {}
        head = json.loads(json.dumps({"question": question, "sources": sources_digest()}))
        path.parent.mkdir(parents=True, exist_ok=True)
        text = path.read_text() if path.exists() else ""
        lines = text[: text.rfind("\n") + 1].splitlines()
        if not lines:
            path.write_text("")
            self._append(head)
            return
        if json.loads(lines[0]) != head:
            raise CannotRunError(
                f"{path} holds an interrupted run with other options or other source code; "
                "remove it, or choose another directory with --out"
            )
        path.write_text("".join(f"{line}\n" for line in lines))  # without the torn last line of a run that was killed
        for line in lines[1:]:
            entry = json.loads(line)
            self._units[entry["unit"]] = entry["result"]

    @property
    def resumed(self) -> list[str]:
        """Units that an earlier, interrupted run had finished."""
        return list(self._units)

    def once(self, unit: str, work: Callable[[], Any]) -> Any:
        """The result of `work`, as plain JSON values, from the journal where it was finished before."""
        if unit not in self._units:
            started = time.perf_counter()
            with CONSOLE.status(unit):
                result = work()
            self._keep(unit, result, time.perf_counter() - started)
        return self._units[unit]

    def all_once(self, tasks: Mapping[str, Task], workers: int, *, fresh: bool = False) -> dict[str, Any]:
        """The results of all tasks, each in a spawned process of one thread, `workers` at a time.

        Parameters
        ----------
        tasks
            Unit -> function, its arguments and keyword arguments; it can be imported.
        workers
            Processes.
        fresh
            Whether each task gets a process of its own.
        """
        missing = [(unit, *task) for unit, task in tasks.items() if unit not in self._units]
        if missing:
            context = multiprocessing.get_context("spawn")
            started = time.perf_counter()
            with (
                CONSOLE.status(f"{len(missing)} of {missing[0][0]} ..."),
                context.Pool(workers, _one_thread, maxtasksperchild=1 if fresh else None) as pool,  # left by terminating it
            ):
                for unit, result in pool.imap_unordered(_call, missing):
                    self._keep(unit, result, time.perf_counter() - started)
        return {unit: self._units[unit] for unit in tasks}

    def _keep(self, unit: str, result: Any, seconds: float) -> None:
        result = json.loads(json.dumps(result))
        self._append({"unit": unit, "result": result})
        self._units[unit] = result
        CONSOLE.print(f"{unit}: {seconds:.0f} s", highlight=False, markup=False)

    def finish(self) -> None:
        """Forget: the run is complete and written."""
        self._path.unlink(missing_ok=True)

    def _append(self, entry: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def _call(task: tuple[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]]) -> tuple[str, Any]:
    unit, function, arguments, keywords = task
    return unit, function(*arguments, **keywords)


def _one_thread() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"


def sources_digest() -> str:
    """Digest of the project's source code."""
    digest = hashlib.sha256()
    for folder in _SOURCES:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            digest.update(path.relative_to(REPOSITORY).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
