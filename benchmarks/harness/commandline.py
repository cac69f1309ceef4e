"""Command-line options that all benchmarks share, and the journal from which an interrupted run continues."""

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
    """Something that the benchmark needs is missing; the message says what to do."""


def parser(description: str | None, seeds: str) -> argparse.ArgumentParser:
    """Parser of `--quick`, `--seeds`, `--out` and `--scan`.

    Parameters
    ----------
    description
        Text of `--help`.
    seeds
        Default of `--seeds`, as FIRST-LAST.
    """
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--out", type=Path, required=True, help="directory for the JSON and Markdown files")
    result.add_argument("--quick", action="store_true", help="reduced run of at most five minutes on two cores")
    result.add_argument("--seeds", type=seed_range, default=seed_range(seeds), help=f"FIRST-LAST (default {seeds})")
    result.add_argument("--scan", type=Path, help="recorded scan to use (default: a real one if available, else a simulated one)")
    return result


def seed_range(text: str) -> tuple[int, ...]:
    """Seeds of a range such as "100-109" or "7"."""
    first, _, last = text.partition("-")
    try:
        seeds = tuple(range(int(first), int(last or first) + 1))
    except ValueError:
        seeds = ()
    if not seeds:
        raise argparse.ArgumentTypeError(f"seeds are {text!r}; give FIRST-LAST, such as 100-109")
    return seeds


def run(main: Callable[[], None]) -> None:
    """Call `main`; end with a message on Ctrl-C or if something is missing."""
    try:
        main()
    except KeyboardInterrupt:
        CONSOLE.print("Interrupted. Finished units are kept; run the same command again to continue.", highlight=False)
        raise SystemExit(INTERRUPTED) from None
    except CannotRunError as error:
        sys.exit(str(error))


class Journal:
    """Finished units of a run, one JSON line each, from which an interrupted run continues.

    Parameters
    ----------
    path
        Path of the journal, beside the output. It is removed when the run is complete.
    question
        Options on which the results depend. A journal with other options, or of other source code, is refused.

    Raises
    ------
    CannotRunError
        If the file belongs to a run with other options or other source code.
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
        path.write_text("".join(f"{line}\n" for line in lines))  # drops an incomplete last line, left by a killed run
        for line in lines[1:]:
            entry = json.loads(line)
            self._units[entry["unit"]] = entry["result"]

    @property
    def resumed(self) -> list[str]:
        """Units that were finished by an earlier, interrupted run."""
        return list(self._units)

    def once(self, unit: str, work: Callable[[], Any]) -> Any:
        """Result of `work` as plain JSON values, read from the journal if the unit was finished before."""
        if unit not in self._units:
            started = time.perf_counter()
            with CONSOLE.status(unit):
                result = work()
            self._keep(unit, result, time.perf_counter() - started)
        return self._units[unit]

    def all_once(self, tasks: Mapping[str, Task], workers: int, *, fresh: bool = False) -> dict[str, Any]:
        """Results of all tasks, each run in a spawned single-threaded process, `workers` at a time.

        Parameters
        ----------
        tasks
            Unit -> importable function, its arguments and its keyword arguments.
        workers
            Number of processes.
        fresh
            Whether each task runs in a new process.
        """
        missing = [(unit, *task) for unit, task in tasks.items() if unit not in self._units]
        if missing:
            context = multiprocessing.get_context("spawn")
            started = time.perf_counter()
            with (
                CONSOLE.status(f"{len(missing)} of {missing[0][0]} ..."),
                context.Pool(
                    workers, _one_thread, maxtasksperchild=1 if fresh else None
                ) as pool,  # leaving the context terminates the pool
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
        """Delete the journal, once the run is complete and its results are written."""
        self._path.unlink(missing_ok=True)

    def _append(self, entry: dict[str, Any]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def _call(task: tuple[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]]) -> tuple[str, Any]:
    unit, function, arguments, keywords = task
    return unit, function(*arguments, **keywords)


def _one_thread() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; only the parent handles it
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = "1"


def sources_digest() -> str:
    """Digest of the project's source code."""
    digest = hashlib.sha256()
    for folder in _SOURCES:
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            digest.update(path.relative_to(REPOSITORY).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]
