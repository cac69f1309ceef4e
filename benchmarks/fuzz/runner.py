"""Passes inputs to a target, each with limits of time and memory, and saves those that cause a failure."""

import hashlib
import random
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from benchmarks.fuzz.targets import Input, Target

LIMIT_S = 1.0  # CPU time, so that a busy machine does not cause failures
SLOW = "took more than a second, in the guard's process"
_RENEW_EVERY = 2000


class TooSlowError(BaseException):
    """An input takes too long. Not an `Exception`, so that no `except Exception` of the product catches it."""


@dataclass
class Tally:
    """Outcomes of inputs of one target.

    Parameters
    ----------
    outcomes
        Outcome -> number of inputs: accepted in some way, or refused with an error of this type (and code).
    failures
        Kind of failure -> number of inputs.
    seconds, slowest_s
        CPU time of all inputs including their generation, and of the slowest one.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    slowest_s: float = 0.0

    def add(self, other: "Tally") -> None:
        """Add the numbers of another tally."""
        self.outcomes += other.outcomes
        self.failures += other.failures
        self.seconds += other.seconds
        self.slowest_s = max(self.slowest_s, other.slowest_s)


def make_input(target: Target, seed: int, number: int) -> Input:
    """Input `number` of a target; reproducible from the seed."""
    try:
        return target.make(random.Random(f"{seed}:{target.name}:{number}"))
    except RecursionError:  # it is nested too deeply to be generated
        return target.make(random.Random(f"{seed}:{target.name}:{number}:again"))


def work(target: Target, seed: int, numbers: Sequence[int], folder: Path, begin: Callable[[int], None] = lambda _: None) -> Tally:
    """Pass the inputs `numbers` to a target; failures are saved in `folder` with the reason.

    Parameters
    ----------
    target
        Target of the inputs.
    seed
        Seed from which the inputs are generated.
    numbers
        Numbers of the inputs.
    folder
        Directory for failures.
    begin
        Callback with the number of each input before it is passed on, so that another process knows which one hangs.
    """
    tally = Tally()
    signal.signal(signal.SIGPROF, _stop)
    all_s = time.process_time()
    for count, number in enumerate(numbers, 1):
        parts = make_input(target, seed, number)
        begin(number)
        peak_mb, begun_s = _peak_mb(), time.process_time()
        outcome, failure = _run(target, parts)
        tally.slowest_s = max(tally.slowest_s, time.process_time() - begun_s)
        if _peak_mb() - peak_mb > target.peak_mb and not failure:
            failure = f"grew by {_peak_mb() - peak_mb:.0f} MB"
        if failure:
            tally.failures[failure.splitlines()[-1][:200]] += 1
            save(folder, target.name, number, parts, failure)
        else:
            tally.outcomes[outcome] += 1
        if count % _RENEW_EVERY == 0:
            target.renew()
    tally.seconds = time.process_time() - all_s
    return tally


def _run(target: Target, given: Input) -> tuple[str, str]:
    """(outcome, failure), one of which is empty."""
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        return target.take(given), ""
    except TooSlowError:
        if target.library_may_hang:
            return SLOW, ""
        return "", f"took more than {LIMIT_S:g} s of CPU time"
    except target.answers as error:
        code = getattr(error, "code", "")
        flaw = "" if str(error).strip() else f"{type(error).__name__} without a message"
        return f"{type(error).__name__}{f' {code}' if code else ''}", flaw
    except Exception:  # noqa: BLE001 - any other exception is a failure
        return "", traceback.format_exc(limit=-6)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _stop(_: int, __: FrameType | None) -> None:
    raise TooSlowError


def save(folder: Path, name: str, number: int, given: Input, failure: str) -> None:
    """Save the parts of an input and the reason of its failure; only a few inputs for each kind of failure."""
    kind = hashlib.sha256(failure.splitlines()[-1].encode()).hexdigest()[:8]
    directory = folder / f"{name}-{kind}"
    if directory.is_dir() and len(list(directory.iterdir())) >= 12:
        return
    directory.mkdir(parents=True, exist_ok=True)
    for part, raw in enumerate(given):
        (directory / f"{number}.{part}").write_bytes(raw)
    (directory / f"{number}.txt").write_text(failure, encoding="utf-8", errors="backslashreplace")


def resident_mb() -> float:
    """Resident memory of this process in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
