"""Independent books of a closed loop: what client, tip and a witness wrote down, held against the agent's history.

Nothing of the agent's own bookkeeping is used: the history is read as the table that it is, and what client and tip did stands
in a diary that the benchmark's own instrument wrote (`service_adapter`).
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

_LOOK_S = 0.1
_MOST_TOLD = 20


class Witness:
    """Looks at a history again and again, and keeps number and hash of each event it ever saw: what was once there must stay.

    Parameters
    ----------
    run
        The run directory, which need not be there yet.
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
        """Number of the newest event that was seen."""
        return max(self.seen, default=0)

    def count(self, kind: str) -> int:
        """How many events of a kind were seen."""
        return sum(1 for found, _ in list(self.seen.values()) if found == kind)

    def _watch(self) -> None:
        while not self._ended.wait(_LOOK_S):
            # A connection of its own each time: one that stays open would change what a kill leaves behind.
            with contextlib.suppress(sqlite3.Error):
                self.seen |= {seq: (kind, digest) for seq, kind, _, _, digest in rows(self._run, after=self.newest)}


def rows(run: Path, after: int = 0) -> list[tuple[int, str, str, dict[str, Any], str]]:
    """(number, kind, subject, body, hash) of the events of a run, read without the agent's code."""
    path = run / "history.sqlite"
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as db:
        found = db.execute("SELECT seq, kind, subject, body, hash FROM event WHERE seq > ? ORDER BY seq", (after,))
        return [(seq, kind, subject, json.loads(body), digest) for seq, kind, subject, body, digest in found]


def lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file of JSON lines; a torn last one, of a writer that was killed, is left out."""
    if not path.exists():
        return []
    *whole, _ = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in whole]


@dataclass
class Diary:
    """What one instrument noted.

    Parameters
    ----------
    scans, results
        Id of the scan, or of the request -> header of the message that the client wrote into its diary.
    troubles
        Id of the message -> its header.
    acknowledged, refused
        Ids of messages that the agent answered so.
    accepted
        Headers of recommendations that the client took, and acknowledges.
    loops
        What the tip did: request_id, x_m, y_m.
    frames
        What was recorded: scan_id, simulated_s, pid.
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
        """What stands in a file."""
        found = Diary()
        for line in lines(path):
            found._add(line)
        return found

    @property
    def last_scan(self) -> int:
        """Number of the last scan that was sent; 0 if there was none."""
        return max((int(name.rpartition("-")[2]) for name in self.scans), default=0)

    @property
    def unanswered(self) -> set[str]:
        """Ids of messages that nothing has been heard of; a recommendation answers its scan."""
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
    """What does not agree, one sentence each, and how much was looked at.

    Parameters
    ----------
    lost
        Scans, decisions, results and events that were there once, or were promised, and are not in the history.
    twice
        Points that the tip was sent to twice, and results that are in the history twice.
    counts
        What was looked at.
    """

    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """Plain values; of many sentences the first."""
        return {
            "lost": len(self.lost),
            "measured_twice": len(self.twice),
            "sentences": [*self.lost, *self.twice][:_MOST_TOLD],
            "counts": dict(self.counts),
        }


def audit(run: Path, diaries: Mapping[str, Path], seen: Mapping[int, tuple[str, str]] = {}) -> Audit:
    """All books of a run held against each other, once everything has come to rest.

    Parameters
    ----------
    run
        The run directory.
    diaries
        Instrument -> its diary.
    seen
        Number -> (kind, hash) of events that a witness saw.
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
        _landings(found, name, diary, history[name])
    found.counts["events"] += len(events)
    found.counts["decisions"] += sum(len(ids) for by_kind in history.values() for ids in by_kind["decision_made"].values())
    return found


def verified(run: Path) -> list[str]:
    """What `vaestar history verify` says is wrong with a run."""
    command = [sys.executable, "-m", "agent", "history", "verify", "--run", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    return [] if done.returncode == 0 else [*(done.stdout + done.stderr).splitlines()[:_MOST_TOLD]]


_Events = dict[str, dict[str, list[dict[str, Any]]]]


def _by_instrument(events: Sequence[tuple[int, str, str, dict[str, Any], str]]) -> defaultdict[str, _Events]:
    """Instrument -> kind -> subject -> bodies."""
    found: defaultdict[str, _Events] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    for _, kind, subject, body, _ in events:
        found[body.get("instrument_id", "")][kind][subject].append(body)
    return found


def _witnessed(found: Audit, events: Sequence[tuple[int, str, str, dict[str, Any], str]], seen: Mapping[int, Any]) -> None:
    now = {seq: (kind, digest) for seq, kind, _, _, digest in events}
    found.counts["events_witnessed"] += len(seen)
    for seq, was in seen.items():
        if now.get(seq) != was:
            found.lost.append(f"event {seq} ({was[0]}) was in the history once, and is not any more")


def _scans_and_results(found: Audit, name: str, diary: Diary, history: _Events) -> None:
    for what, kind, sent in (("scan", "scan_received", diary.scans), ("result", "result_received", diary.results)):
        for subject, header in sent.items():
            bodies = history[kind].get(subject, [])
            told = "acknowledged" if header["id"] in diary.acknowledged else "sent"
            if header["id"] in diary.refused:
                found.lost.append(f"{what} {subject} of {name} was refused")
            elif not bodies:
                found.lost.append(f"{what} {subject} of {name} was {told}, and is not in the history")
            elif len(bodies) > 1:
                found.twice.append(f"{what} {subject} of {name} is {len(bodies)} times in the history")
            elif what == "result" and bodies[0]["status"] != header["status"]:
                found.lost.append(
                    f"result {subject} of {name} was {header['status']} and is {bodies[0]['status']} in the history"
                )
            found.counts[f"{what}s_{told}"] += 1


def _troubles(found: Audit, name: str, diary: Diary, history: _Events) -> None:
    """Each trouble that the agent has acknowledged stands in the history once; what nobody heard of is told again later."""
    for subject in diary.troubles.keys() & diary.acknowledged:
        found.counts["troubles_acknowledged"] += 1
        if len(history["instrument_troubled"].get(subject, [])) != 1:
            found.lost.append(f"{subject} of {name} was acknowledged, and is not once in the history")


def _decisions(found: Audit, name: str, diary: Diary, history: _Events) -> None:
    """Each recommendation that a client acknowledged stands in the history, point for point."""
    for header in diary.accepted:
        made = history["decision_made"].get(header["decision_id"], [])
        found.counts["recommendations_accepted"] += 1
        asked = {r["request_id"] for r in header["requests"]}
        known = {r["request_id"] for body in made for r in body["decision"]["requests"]}
        if not made or not asked <= known:
            found.lost.append(f"decision {header['decision_id']}, acknowledged by {name}, is not in the history as it was sent")


def _landings(found: Audit, name: str, diary: Diary, history: _Events) -> None:
    """No request has met the tip twice, and each that has has one result; how near two places were, is told."""
    landed = diary.loops
    found.counts["loops"] += len(landed)
    for request_id, times in Counter(line["request_id"] for line in landed).items():
        if times > 1:
            found.twice.append(f"{name} measured {request_id} {times} times")
        if len(history["result_received"].get(request_id, [])) != 1:
            found.lost.append(f"{name} measured {request_id}, and the history does not hold one result of it")
    nearest = _nearest_m(landed)
    if landed and math.isfinite(nearest):
        found.counts["nearest_two_places_pm"] = round(nearest * 1e12)


def _nearest_m(landed: Sequence[Mapping[str, Any]]) -> float:
    """Smallest distance of two places that the tip was sent to."""
    return min((math.dist(a, b) for a, b in _pairs([(line["x_m"], line["y_m"]) for line in landed])), default=math.inf)


def _pairs(places: Sequence[tuple[float, float]]) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    for i, one in enumerate(places):
        for other in places[:i]:
            yield one, other
