"""Inputs given to a target one after another, each under a limit of time and memory; what is no answer is kept as a file."""

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

LIMIT_S = 1.0  # of processor time, so that a busy machine makes nothing slow
SLOW = "took more than a second, in the guard's process"
_RENEW_EVERY = 2000


class TooSlowError(BaseException):
    """An input takes longer than it may; no `except Exception` of the product can hold it up."""


@dataclass
class Tally:
    """What became of some inputs of one target.

    Parameters
    ----------
    outcomes
        Class -> how many: accepted in some way, or refused by an error of this type (and code).
    failures
        Class -> how many: everything that is no answer.
    seconds, slowest_s
        Processor time of all, their making included, and of the slowest one.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    slowest_s: float = 0.0

    def add(self, other: "Tally") -> None:
        """Take another's numbers in."""
        self.outcomes += other.outcomes
        self.failures += other.failures
        self.seconds += other.seconds
        self.slowest_s = max(self.slowest_s, other.slowest_s)


def make_input(target: Target, seed: int, number: int) -> Input:
    """Input `number` of a target: the same whenever and wherever it is made."""
    try:
        return target.make(random.Random(f"{seed}:{target.name}:{number}"))
    except RecursionError:  # it came out too deep for the one who makes it
        return target.make(random.Random(f"{seed}:{target.name}:{number}:again"))


def work(target: Target, seed: int, numbers: Sequence[int], folder: Path, begin: Callable[[int], None] = lambda _: None) -> Tally:
    """What became of inputs `numbers`; each failure is in `folder`, with what went wrong.

    Parameters
    ----------
    begin
        Told the number of each input before it is given, so that another process can say which one never ended.
    """
    tally = Tally()
    signal.signal(signal.SIGPROF, _stop)
    all_s = time.process_time()
    for count, number in enumerate(numbers, 1):
        given = make_input(target, seed, number)
        begin(number)
        peak_mb, begun_s = _peak_mb(), time.process_time()
        outcome, failure = _take(target, given)
        tally.slowest_s = max(tally.slowest_s, time.process_time() - begun_s)
        if _peak_mb() - peak_mb > target.peak_mb and not failure:
            failure = f"grew by {_peak_mb() - peak_mb:.0f} MB"
        if failure:
            tally.failures[failure.splitlines()[-1][:200]] += 1
            save(folder, target.name, number, given, failure)
        else:
            tally.outcomes[outcome] += 1
        if count % _RENEW_EVERY == 0:
            target.renew()
    tally.seconds = time.process_time() - all_s
    return tally


def _take(target: Target, given: Input) -> tuple[str, str]:
    """(class of the outcome, what failed)."""
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        return target.take(given), ""
    except TooSlowError:
        if target.library_may_hang:
            return SLOW, ""
        return "", f"took more than {LIMIT_S:g} s of processor time"
    except target.answers as error:
        code = getattr(error, "code", "")
        flaw = "" if str(error).strip() else f"{type(error).__name__} without a sentence"
        return f"{type(error).__name__}{f' {code}' if code else ''}", flaw
    except Exception:  # noqa: BLE001 - this is what is looked for
        return "", traceback.format_exc(limit=-6)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _stop(_: int, __: FrameType | None) -> None:
    raise TooSlowError


def save(folder: Path, name: str, number: int, given: Input, failure: str) -> None:
    """The input, a file for each of its parts, and what went wrong with it; of one class of failures a few only."""
    kind = hashlib.sha256(failure.splitlines()[-1].encode()).hexdigest()[:8]
    place = folder / f"{name}-{kind}"
    if place.is_dir() and len(list(place.iterdir())) >= 12:
        return
    place.mkdir(parents=True, exist_ok=True)
    for part, raw in enumerate(given):
        (place / f"{number}.{part}").write_bytes(raw)
    (place / f"{number}.txt").write_text(failure, encoding="utf-8", errors="backslashreplace")


def resident_mb() -> float:
    """Memory that this process holds now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
