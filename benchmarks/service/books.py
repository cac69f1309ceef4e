"""Audit of a closed loop: the agent's history compared with independent records of the client, the tip and a witness.

No code of the agent is used: the history is read as a plain SQL table, and the actions of client and tip are in a diary written
by the benchmark's own instrument (`benchmarks.service.adapter`).
"""

import contextlib
import json
import math
import sqlite3
import subprocess
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.harness.commandline import REPOSITORY

_POLL_S = 0.1
_MAX_SENTENCES = 20


class Witness:
    """Polls a history and keeps kind and hash of each event that it has seen, since no event may disappear.

    Parameters
    ----------
    run
        Path of the run directory, which need not exist yet.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self.seen: dict[int, tuple[str, str]] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Witness":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._ended.set()
        self._thread.join()

    @property
    def newest(self) -> int:
        """Sequence number of the newest event seen."""
        return max(self.seen, default=0)

    def count(self, kind: str) -> int:
        """Number of events of a kind seen so far."""
        return sum(1 for found, _ in list(self.seen.values()) if found == kind)

    def _watch(self) -> None:
        while not self._ended.wait(_POLL_S):
            # A new connection each time: an open one would change the state that a kill leaves behind.
            with contextlib.suppress(sqlite3.Error):
                self.seen |= {seq: (kind, digest) for seq, kind, _, _, digest in rows(self._run, after=self.newest)}


def rows(run: Path, after: int = 0) -> list[tuple[int, str, str, dict[str, Any], str]]:
    """(sequence number, kind, subject, body, hash) of the events of a run, read without the agent's code."""
    path = run / "history.sqlite"
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
        found = db.execute("SELECT seq, kind, subject, body, hash FROM event WHERE seq > ? ORDER BY seq", (after,))
        return [(seq, kind, subject, json.loads(body), digest) for seq, kind, subject, body, digest in found]


def lines(path: Path) -> list[dict[str, Any]]:
    """Complete lines of a JSON lines file; an incomplete last line of a killed writer is skipped."""
    if not path.exists():
        return []
    *complete, _ = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in complete]


@dataclass
class Diary:
    """Diary of one instrument.

    Parameters
    ----------
    scans, results
        Id of the scan, or of the request -> header of the message that the client sent.
    troubles
        Id of the message -> its header.
    acknowledged, refused
        Ids of messages that the agent acknowledged or refused.
    accepted
        Headers of recommendations that the client accepted.
    loops
        Loops of the tip: request_id, x_m, y_m.
    frames
        Recorded frames: scan_id, simulated_s, pid.
    """

    scans: dict[str, dict[str, Any]] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    troubles: dict[str, dict[str, Any]] = field(default_factory=dict)
    acknowledged: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    accepted: list[dict[str, Any]] = field(default_factory=list)
    loops: list[dict[str, Any]] = field(default_factory=list)
    frames: list[dict[str, Any]] = field(default_factory=list)

    @staticmethod
    def of(path: Path) -> "Diary":
        """Read a diary from a file."""
        diary = Diary()
        for line in lines(path):
            diary._add(line)
        return diary

    @property
    def last_scan(self) -> int:
        """Number of the last scan sent; 0 if there was none."""
        return max((int(name.rpartition("-")[2]) for name in self.scans), default=0)

    @property
    def unanswered(self) -> set[str]:
        """Ids of messages without an answer; a recommendation answers its scan."""
        sent = {header["id"] for header in (*self.scans.values(), *self.results.values())}
        return sent - self.acknowledged - self.refused - {f"scan-{header['scan_id']}" for header in self.accepted}

    def _add(self, line: Mapping[str, Any]) -> None:
        match line["what"]:
            case "sent":
                header = line["header"]
                if header["type"] == "scan":
                    self.scans[header["scan_id"]] = header
                elif header["type"] == "result":
                    self.results[header["request_id"]] = header
                else:
                    self.troubles[header["id"]] = header
            case "answered":
                (self.refused if line["refused"] else self.acknowledged).add(line["id"])
            case "accepted":
                self.accepted.append(line["header"])
            case "loop":
                self.loops.append(dict(line))
            case "scan":
                self.frames.append(dict(line))


@dataclass
class Audit:
    """Discrepancies, one sentence each, and numbers of checked items.

    Parameters
    ----------
    lost
        Scans, decisions, results and events that were sent or seen, but are not in the history.
    twice
        Points that the tip measured twice, and messages that are in the history twice.
    counts
        Numbers of checked items.
    """

    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Plain values, with the first sentences only."""
        return {
            "lost": len(self.lost),
            "measured_twice": len(self.twice),
            "sentences": [*self.lost, *self.twice][:_MAX_SENTENCES],
            "counts": dict(self.counts),
        }


def audit(run: Path, diaries: Mapping[str, Path], seen: Mapping[int, tuple[str, str]] = {}) -> Audit:
    """Compare all records of a run after its processes have ended.

    Parameters
    ----------
    run
        Path of the run directory.
    diaries
        Instrument -> path of its diary.
    seen
        Sequence number -> (kind, hash) of the events that a witness saw.
    """
    found = Audit()
    events = rows(run)
    _witnessed(found, events, seen)
    history = _by_instrument(events)
    for name, path in diaries.items():
        diary = Diary.of(path)
        _scans_and_results(found, name, diary, history[name])
        _troubles(found, name, diary, history[name])
        _decisions(found, name, diary, history[name])
        _loops(found, name, diary, history[name])
    found.counts["events"] += len(events)
    found.counts["decisions"] += sum(len(ids) for by_kind in history.values() for ids in by_kind["decision_made"].values())
    return found


def verified(run: Path) -> list[str]:
    """Faults that `vaestar history verify` reports for a run."""
    command = [sys.executable, "-m", "agent", "history", "verify", "--run", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    return [] if done.returncode == 0 else [*(done.stdout + done.stderr).splitlines()[:_MAX_SENTENCES]]


_Events = dict[str, dict[str, list[dict[str, Any]]]]


def _by_instrument(events: Sequence[tuple[int, str, str, dict[str, Any], str]]) -> defaultdict[str, _Events]:
    """Bodies of the events, by instrument, kind and subject."""
    found: defaultdict[str, _Events] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for _, kind, subject, body, _ in events:
        found[body.get("instrument_id", "")][kind][subject].append(body)
    return found


def _witnessed(found: Audit, events: Sequence[tuple[int, str, str, dict[str, Any], str]], seen: Mapping[int, Any]) -> None:
    now = {seq: (kind, digest) for seq, kind, _, _, digest in events}
    found.counts["events_witnessed"] += len(seen)
    for seq, was in seen.items():
        if now.get(seq) != was:
            found.lost.append(f"event {seq} ({was[0]}) was in the history, but no longer is")


def _scans_and_results(found: Audit, name: str, diary: Diary, history: _Events) -> None:
    for what, kind, sent in (("scan", "scan_received", diary.scans), ("result", "result_received", diary.results)):
        for subject, header in sent.items():
            bodies = history[kind].get(subject, [])
            state = "acknowledged" if header["id"] in diary.acknowledged else "sent"
            if header["id"] in diary.refused:
                found.lost.append(f"{what} {subject} of {name} was refused")
            elif not bodies:
                found.lost.append(f"{what} {subject} of {name} was {state}, but is not in the history")
            elif len(bodies) > 1:
                found.twice.append(f"{what} {subject} of {name} is in the history {len(bodies)} times")
            elif what == "result" and bodies[0]["status"] != header["status"]:
                found.lost.append(
                    f"result {subject} of {name} was {header['status']}, but is {bodies[0]['status']} in the history"
                )
            found.counts[f"{what}s_{state}"] += 1


def _troubles(found: Audit, name: str, diary: Diary, history: _Events) -> None:
    """Check that each trouble that the agent acknowledged is in the history once; others are sent again later."""
    for subject in diary.troubles.keys() & diary.acknowledged:
        found.counts["troubles_acknowledged"] += 1
        if len(history["instrument_troubled"].get(subject, [])) != 1:
            found.lost.append(f"{subject} of {name} was acknowledged, but is not in the history exactly once")


def _decisions(found: Audit, name: str, diary: Diary, history: _Events) -> None:
    """Check that each recommendation that a client accepted is in the history with all its points."""
    for header in diary.accepted:
        bodies = history["decision_made"].get(header["decision_id"], [])
        found.counts["recommendations_accepted"] += 1
        requested = {r["request_id"] for r in header["requests"]}
        known = {r["request_id"] for body in bodies for r in body["decision"]["requests"]}
        if not bodies or not requested <= known:
            found.lost.append(f"decision {header['decision_id']}, accepted by {name}, is not in the history as it was sent")


def _loops(found: Audit, name: str, diary: Diary, history: _Events) -> None:
    """Check that no request was measured twice and each measured one has one result; record the smallest spacing."""
    loops = diary.loops
    found.counts["loops"] += len(loops)
    for request_id, times in Counter(line["request_id"] for line in loops).items():
        if times > 1:
            found.twice.append(f"{name} measured {request_id} {times} times")
        if len(history["result_received"].get(request_id, [])) != 1:
            found.lost.append(f"{name} measured {request_id}, but the history does not have exactly one result of it")
    nearest = _nearest_m(loops)
    if loops and math.isfinite(nearest):
        found.counts["nearest_two_places_pm"] = round(nearest * 1e12)


def _nearest_m(loops: Sequence[Mapping[str, Any]]) -> float:
    """Smallest distance in metres between two measured points."""
    return min((math.dist(a, b) for a, b in _pairs([(line["x_m"], line["y_m"]) for line in loops])), default=math.inf)


def _pairs(points: Sequence[tuple[float, float]]) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    for i, one in enumerate(points):
        for other in points[:i]:
            yield one, other
