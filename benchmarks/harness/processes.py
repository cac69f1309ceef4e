"""CPU time and memory of this process and its descendants, read from Linux's /proc."""

import os
import resource
import threading
import time
from collections import Counter
from pathlib import Path

_PROC = Path("/proc")
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_SAMPLE_S = 0.1


class Meter:
    """Context manager that measures wall time, CPU time and peak memory of the process tree.

    Attributes
    ----------
    wall_s, cpu_s
        Elapsed time, and CPU time (user and system) of all processes, including those that ended meanwhile, in seconds.
    peak_rss_mb
        Largest total resident memory in MiB, sampled ten times a second. Shared pages are counted for each process, so this is an
        upper bound.
    cpu_of_stage_s
        CPU seconds between calls of `progress`, by stage.
    """

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = self.peak_rss_mb = 0.0
        self.cpu_of_stage_s: Counter[str] = Counter()
        self._ended = threading.Event()
        self._stage = "before"

    def __enter__(self) -> "Meter":
        self._started, self._cpu_before = time.perf_counter(), tree_cpu_s()
        self._cpu_seen = self._cpu_before
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._sampler.join()
        self.wall_s = time.perf_counter() - self._started
        self.cpu_s = tree_cpu_s() - self._cpu_before
        self._start_stage("after")

    def progress(self, stage: str, done: int, total: int) -> None:  # noqa: ARG002 - the signature of a search's progress
        """Progress callback of a search: attributes the CPU time since the last call to the previous stage."""
        self._start_stage(stage)

    def _start_stage(self, next_stage: str) -> None:
        now = tree_cpu_s()
        self.cpu_of_stage_s[self._stage] += now - self._cpu_seen
        self._cpu_seen, self._stage = now, next_stage

    def _sample(self) -> None:
        while True:
            self.peak_rss_mb = max(self.peak_rss_mb, tree_rss_mb())
            if self._ended.wait(_SAMPLE_S):
                return


def tree_cpu_s() -> float:
    """CPU seconds of this process and its descendants, including their children that have ended."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    total = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    for pid in descendants(os.getpid()):
        fields = _stat(pid)
        if fields:
            total += sum(int(value) for value in fields[11:15]) * _TICK_S  # utime, stime, cutime, cstime
    return total


def tree_rss_mb() -> float:
    """Resident memory of this process and its descendants, in MiB."""
    page_mb = os.sysconf("SC_PAGE_SIZE") / 2**20
    pids = [os.getpid(), *descendants(os.getpid())]
    return sum(int(fields[21]) for pid in pids if (fields := _stat(pid))) * page_mb


def descendants(pid: int) -> list[int]:
    """Process ids of all living descendants of `pid`."""
    found = []
    try:
        listed = [path.read_text().split() for path in (_PROC / str(pid) / "task").glob("*/children")]
    except OSError:  # it ended meanwhile
        return []
    for child in (int(value) for children in listed for value in children):
        found += [child, *descendants(child)]
    return found


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat after the name (which may contain spaces); empty if the process has ended."""
    try:
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
