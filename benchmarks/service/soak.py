"""A simulated week with faults: does memory grow, and is every scan accounted for?

Two event-driven microscopes are connected to one agent with a small search. *mfp3d-week* runs for a week without a pause on one
sample, with transient faults only, since a broken probe would end its week on the first day. *mfp3d-shift* gets a new sample and
probe twice a day and has all faults. A frame takes as long as a real one, 640 s, but has fewer lines, so that a week fits into
half an hour; loops take 10 s each. The simulated clock never waits: the numbers of scans, results, messages and faults are those
of a week, the wall time is not.
"""

import gc
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.service.books import Diary, audit, lines, rows, verified
from benchmarks.service.faults import undecided
from benchmarks.service.processes import TINY_SEARCH, BrokenLoopError, Daemon, Site, emptied, footprint, workers_of

DAY_S = 86400.0
WEEK, SHIFT = "mfp3d-week", "mfp3d-shift"
FINE = "[scan]\nspacing_px = 2.0\n[guards]\nmin_points = 40\n"  # so that small frames have enough key points
_TRANSIENT = ("transport", "data", "motion", "sample", "lock_loss", "contamination_band")
_SAMPLE_S = 2.0
_STALLED_S = 300.0
_WARM_UP = 0.25  # share of the week in which caches and the allocator's arenas fill
_FRAME_S = 640.0


@dataclass(frozen=True)
class Week:
    """Extent of the simulation.

    Parameters
    ----------
    days
        Simulated days of each instrument.
    pixels
        Pixels per line, and lines per frame.
    fault_rate
        Mean number of faults per scan.
    shifts_a_day
        Number of times a day that mfp3d-shift gets a new sample and probe.
    """

    days: float = 7.0
    pixels: int = 64
    fault_rate: float = 0.2
    shifts_a_day: int = 2


def soak(directory: Path, seed: int, week: Week = Week(), search: str = FINE + TINY_SEARCH) -> dict[str, Any]:
    """Run a simulated week.

    Returns
    -------
    dict
        Among others `samples`, simulated days of the slower instrument and footprints; `slopes`, MB per simulated day with
        interval; `accounts`, outcomes of the scans; `tables_mb`, size of the ledger by part; `faults`, numbers of faults;
        `verify` and the fields of `Audit`.
    """
    started = time.monotonic()
    with emptied(directory), Site(directory, search) as site:
        watch = _Watch(site, week, seed)
        site.start_agent()
        stalled = ""
        try:
            watch.until_done()
        except BrokenLoopError as error:
            stalled = str(error)
        exits = watch.end()
    diaries = {name: directory / f"{name}.diary.jsonl" for name in (WEEK, SHIFT)}
    found = audit(site.run, diaries)
    return {
        "seed": seed,
        "simulated_days": watch.days(),
        "wall_s": time.monotonic() - started,
        "stalled": stalled,
        "exits": exits,
        "restarts": watch.restarts,
        "samples": watch.samples,
        "slopes": slopes(watch.samples),
        "accounts": accounts(site.run, diaries.values()),
        "undecided": undecided(site.run, cut_off=True),
        "verify": verified(site.run),
        "tables_mb": tables(site.run),
        "faults": dict(Counter(e["fault"] for name in (WEEK, SHIFT) for e in lines(directory / f"{name}.sealed.jsonl"))),
        **found.as_json(),
    }


class _Watch:
    """Starts two instruments, restarts one of them for each shift, and samples all processes."""

    def __init__(self, site: Site, week: Week, seed: int) -> None:
        self._site, self._week, self._seed = site, week, seed
        self.samples: list[dict[str, float]] = []
        self.restarts: Counter[str] = Counter()
        self._shift = 0
        self._past_s: Counter[str] = Counter()  # simulated seconds of ended processes
        self._steady = self._instrument(WEEK, ["--cycles", "0"], {name: week.fault_rate / len(_TRANSIENT) for name in _TRANSIENT})
        scans = round(DAY_S / week.shifts_a_day / (_FRAME_S + 100.0))
        self._shifting = self._instrument(SHIFT, ["--cycles", str(max(2, scans))], {"all": week.fault_rate})
        self._simulated: dict[str, float] = {WEEK: 0.0, SHIFT: 0.0}
        self._progress_at = time.monotonic()

    def days(self) -> dict[str, float]:
        """Simulated days of each instrument."""
        return {name: (self._past_s[name] + self._simulated[name]) / DAY_S for name in (WEEK, SHIFT)}

    def until_done(self) -> None:
        """Run until both instruments have simulated their days.

        Raises
        ------
        BrokenLoopError
            If no instrument makes progress any more.
        """
        for daemon in (self._steady, self._shifting):
            daemon.start()
        while behind := [name for name, days in self.days().items() if days < self._week.days]:
            time.sleep(_SAMPLE_S)
            self._sample()
            if time.monotonic() - self._progress_at > _STALLED_S:
                raise BrokenLoopError(f"{behind} did not scan for {_STALLED_S:.0f} s:\n{self._site.agent.tail()}")
            if WEEK in behind and not self._steady.running:
                self._restart(WEEK, self._steady)
            if SHIFT in behind and not self._shifting.running:
                self._shift += 1
                self._restart(SHIFT, self._shifting)
            if SHIFT not in behind and self._shifting.running:
                self._shifting.stop()
            if WEEK not in behind and self._steady.running:
                self._steady.stop()

    def end(self) -> dict[str, int]:
        codes = {daemon.name: daemon.stop() for daemon in (self._steady, self._shifting)}
        codes["agent_alive"] = int(self._site.agent.running)
        codes["agent"] = self._site.agent.stop()
        return codes

    def _restart(self, name: str, daemon: Daemon) -> None:
        self._past_s[name] += self._simulated[name]
        self._simulated[name] = 0.0
        self.restarts[name] += 1
        self._write_config(name)
        daemon.start()

    def _instrument(self, name: str, options: Sequence[str], rates: Mapping[str, float]) -> Daemon:
        faults = [text for fault, rate in rates.items() for text in ("--fault-rate", f"{fault}={rate}")]
        fixed = ["--pixels", str(self._week.pixels), "--no-latency", *options, *faults, "--sealed-log", f"{name}.sealed.jsonl"]

        def command() -> list[str]:
            seed = self._seed + (0 if name == WEEK else 1 + self._shift) + 1000 * self.restarts[WEEK] * (name == WEEK)
            first = Diary.of(self._site.directory / f"{name}.diary.jsonl").last_scan + 1
            return [*fixed, "--seed", str(seed), "--first-scan", str(first)]

        daemon = self._site.adapter(name, command)
        self._write_config(name)
        return daemon

    def _write_config(self, name: str) -> None:
        sample = f"{name}-sample-{0 if name == WEEK else self._shift:03d}"
        text = f'sample_id = "{sample}"\n[timing]\nscan_rate_Hz = {self._week.pixels / _FRAME_S}\n'
        (self._site.directory / f"{name}.toml").write_text(f"{text}[limits]\nspacing_min_m = 55e-9\ndose_max = 100000\n")

    def _sample(self) -> None:
        for name, daemon in ((WEEK, self._steady), (SHIFT, self._shifting)):
            frames = Diary.of(self._site.directory / f"{name}.diary.jsonl").frames
            times_s = [frame["simulated_s"] for frame in frames if frame["pid"] == daemon.pid]
            if times_s and times_s[-1] != self._simulated[name]:
                self._simulated[name], self._progress_at = times_s[-1], time.monotonic()
        agent = footprint(self._site.agent.pid)
        workers = [footprint(pid)["rss_mb"] for pid in workers_of(self._site.agent.pid)]
        steady = footprint(self._steady.pid)
        if not steady["rss_mb"] or not agent["rss_mb"]:
            return
        days = self.days()
        self.samples.append(
            {
                "days": min(days.values()),
                "agent_mb": agent["rss_mb"],
                "agent_files": agent["files"],
                "agent_threads": agent["threads"],
                "workers_mb": sum(workers),
                "adapter_mb": steady["rss_mb"],
                "adapter_files": steady["files"],
                "adapter_days": days[WEEK],
            }
        )


def slopes(samples: Sequence[Mapping[str, float]], seed: int = 0) -> dict[str, dict[str, float]]:
    """Change of each quantity per simulated day after the warm-up, with a 95 % interval from a block bootstrap."""
    found = {}
    for name in ("agent_mb", "workers_mb", "adapter_mb", "agent_files", "agent_threads", "adapter_files"):
        clock = "adapter_days" if name.startswith("adapter") else "days"
        x, y = (np.array([sample[key] for sample in samples]) for key in (clock, name))
        late = x >= _WARM_UP * x.max() if len(x) else np.zeros(0, bool)
        if late.sum() < 8 or np.ptp(x[late]) == 0:
            continue
        found[name] = _slope(x[late], y[late], np.random.default_rng(seed)) | {"last": float(y[-1])}
    return found


def _slope(x: np.ndarray, y: np.ndarray, rng: np.random.Generator, blocks: int = 10, times: int = 500) -> dict[str, float]:
    pieces = np.array_split(np.arange(len(x)), min(blocks, len(x) // 2))
    drawn = []
    for _ in range(times):
        at = np.concatenate([pieces[i] for i in rng.integers(len(pieces), size=len(pieces))])
        if np.ptp(x[at]) > 0:
            drawn.append(np.polyfit(x[at], y[at], 1)[0])
    low, high = np.percentile(drawn, [2.5, 97.5])
    return {"per_day": float(np.polyfit(x, y, 1)[0]), "low": float(low), "high": float(high)}


def accounts(run: Path, diaries: Iterable[Path]) -> dict[str, int]:
    """Numbers of scans sent, of outcomes of decisions and results, and of events of each kind."""
    events = rows(run)
    found: Counter[str] = Counter(f"events {kind}" for _, kind, _, _, _ in events)
    found.update(f"decided {body['decision']['outcome']}" for _, kind, _, body, _ in events if kind == "decision_made")
    found.update(f"result {body['status']}" for _, kind, _, body, _ in events if kind == "result_received")
    found["scans sent"] = sum(len(Diary.of(path).scans) for path in diaries)
    return dict(sorted(found.items()))


def tables(run: Path) -> dict[str, float]:
    """Size of the ledger of this run in MB, by part (shared objects count in each), and in KB per scan."""
    from agent.history.event_log import History
    from agent.ledger.ledger import Ledger

    with History(run, read_only=True) as history:
        ledger = Ledger.of(history.events())
    parts = {name: deep_size(value) / 2**20 for name, value in vars(ledger).items()}
    return {**parts, "kb_a_scan": deep_size(vars(ledger)) / 1024 / max(1, len(ledger.scans))}


def deep_size(thing: Any) -> int:
    """Size in bytes of an object and everything that it refers to, without classes, modules and functions."""
    seen, todo, total = set(), [thing], 0
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type) or callable(one):
            continue
        seen.add(id(one))
        total += sys.getsizeof(one)
        todo += gc.get_referents(one)
    return total


if __name__ == "__main__":
    print(json.dumps(soak(Path(sys.argv[1]), 5, Week(days=float(sys.argv[2]))), indent=1))
