"""What of the arrays may go: never what a decision rests on, nor what tells why it was made.

Scans, the curves of results, and the arrays of the chosen candidate stay for ever. The latents of the other candidates, and
weights that no decision went on from and none can any more, may go where the settings say so. What goes is recorded first, with
its digest, so that it can still be proved: a decision that is made again has the same latents and weights, so the same digests.
"""

import asyncio
import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from agent.config.retention import RetentionSettings
from agent.history.event_log import Event, History
from agent.history.integrity import releasable
from agent.schema import event_kinds as kinds

Record = Callable[[str, str, Mapping[str, Any]], Event | None]  # kind, subject, body
_LATENTS = "latents"
_USED = ("the held-out ELBO", "decision ")  # why a search that had weights to go on from began anew all the same


@dataclass(frozen=True)
class Held:
    """An array that an event names.

    Parameters
    ----------
    digest, seq, kind, name
        The array, and the event that names it.
    recorded_at
        When that was.
    needed
        Why it must stay; empty if nothing rests on it.
    """

    digest: str
    seq: int
    kind: str
    name: str
    recorded_at: datetime
    needed: str = ""


@dataclass(frozen=True)
class Going:
    """An array that may go, of an event that names it."""

    digest: str
    seq: int
    name: str


@dataclass(frozen=True)
class Plan:
    """What may go.

    Parameters
    ----------
    after
        Number of the last event that was looked at.
    released
        Arrays that nothing rests on.
    orphans
        Files that belong to no event.
    unfinished
        Files of arrays that were released before, and not removed yet.
    settings
        By which it was made.
    """

    after: int
    released: tuple[Going, ...]
    orphans: tuple[Path, ...]
    unfinished: tuple[str, ...]
    settings: RetentionSettings


def retain(history: History, settings: RetentionSettings, now: datetime) -> Event | None:
    """Release what may go; the event that says so, or None if nothing may."""
    return release(history, planned(history, settings, now), functools.partial(history.record, at=now))


async def retained(run_directory: Path, settings: RetentionSettings, now: Callable[[], datetime], record: Record) -> None:
    """The same for a service: what may go is found out in a thread, while messages are answered."""

    def look() -> Plan:
        with History(run_directory, read_only=True) as reader:
            return planned(reader, settings, now())

    plan = await asyncio.to_thread(look)
    with History(run_directory, read_only=True) as reader:
        release(reader, plan, record)


def planned(history: History, settings: RetentionSettings, now: datetime) -> Plan:
    """What may go now. It only reads, so it may be asked of another, read-only `History` of the same run, in a thread."""
    after = history.head.seq
    held, gone = _holdings(history, after)
    old = now - timedelta(days=settings.keep_orphans_days)
    known = {h.digest for h in held}
    files = list(history.arrays.held())
    there = {digest for digest, _ in files}
    orphans = tuple(path for digest, path in files if digest not in known and _older(path, old))
    last = {h.digest: h.seq for h in held}  # the last one wins
    unfinished = tuple(digest for digest, seq in gone.items() if digest in there and last.get(digest, 0) < seq)
    chosen = [going for going in may_go(held, settings, now) if going.digest in there and going.digest not in unfinished]
    return Plan(after, tuple(chosen), orphans, unfinished, settings)


def may_go(held: Sequence[Held], settings: RetentionSettings, now: datetime) -> list[Going]:
    """The arrays that no event needs: one that several events name stays while one of them needs it."""
    until = now - timedelta(days=settings.keep_days)
    stays = {h.digest for h in held if h.needed or h.recorded_at > until or not _allowed(h, settings)}
    return [Going(h.digest, h.seq, h.name) for h in held if h.digest not in stays]


def release(history: History, plan: Plan, record: Record) -> Event | None:
    """Record what goes, then remove it; what was taken up again since the plan was made stays.

    Parameters
    ----------
    history
        Of the plan.
    plan
        Made not long ago, maybe in another thread.
    record
        Puts an event into the history.

    Raises
    ------
    HistoryError
        If it cannot be recorded; then nothing was removed.
    """
    again = {digest for e in history.events(after=plan.after) for digest in e.arrays.values()}
    going = [g for g in plan.released if g.digest not in again]
    orphans = [path for path in plan.orphans if path.stem not in again]
    event = None
    if going or orphans:
        event = record(kinds.ARRAYS_RELEASED, "history", _said(history, going, orphans, plan.settings))
    digests = {g.digest for g in going} | {d for d in plan.unfinished if d not in again}
    for path in [*orphans, *(history.arrays.path(digest) for digest in sorted(digests))]:
        with contextlib.suppress(OSError):  # tried again the next time
            path.unlink(missing_ok=True)
    return event


def _said(history: History, going: Iterable[Going], orphans: Iterable[Path], settings: RetentionSettings) -> dict[str, Any]:
    released: list[dict[str, Any]] = [asdict(g) | {"bytes": _size(history.arrays.path(g.digest))} for g in going]
    strays: list[dict[str, Any]] = [{"file": path.name, "bytes": _size(path)} for path in orphans]
    by_digest = {entry["digest"]: entry["bytes"] for entry in released}
    return {
        "reason": "nothing rests on them, and the settings let them go",
        "settings": settings.model_dump(mode="json"),
        "released": released,
        "orphans": strays,
        "bytes": sum(by_digest.values()) + sum(entry["bytes"] for entry in strays),
    }


def _allowed(held: Held, settings: RetentionSettings) -> bool:
    if not releasable(held.kind, held.name):
        return False
    return not (settings.keep_latents if held.name == _LATENTS else settings.keep_weights)


def _holdings(history: History, until: int) -> tuple[list[Held], dict[str, int]]:
    """All arrays that events name, with why they are needed, in order; and digest -> event of those released already."""
    held: list[Held] = []
    gone: dict[str, int] = {}
    decisions: list[Event] = []
    for e in history.events():
        if e.seq > until:
            break
        held += [Held(digest, e.seq, e.kind, name, e.recorded_at) for name, digest in e.arrays.items()]
        if e.kind == kinds.ARRAYS_RELEASED:
            gone |= {entry["digest"]: e.seq for entry in e.body["released"]}
        if e.kind in (kinds.DECISION_MADE, kinds.DECISION_DEEPENED):
            decisions.append(_slim(e))
    needed = weights_needed(decisions)
    return [_marked(h, needed) for h in held], gone


def _slim(event: Event) -> Event:
    """A decision's event without what is not asked for here: a long run has many."""
    kept = ("decision_id", "sample_id", "outcome", "warm_from", "cold_because")
    decision = {name: event.body["decision"].get(name) for name in kept}
    body = {"decision": decision} | {name: event.body.get(name) for name in ("asked", "of", "instrument_id")}
    return Event(event.seq, event.recorded_at, event.kind, event.subject, body)


def _marked(held: Held, needed: Mapping[int, str]) -> Held:
    if not releasable(held.kind, held.name):
        return Held(held.digest, held.seq, held.kind, held.name, held.recorded_at, "the history is made of it")
    if held.name != _LATENTS and held.seq in needed:
        return Held(held.digest, held.seq, held.kind, held.name, held.recorded_at, needed[held.seq])
    return held


def weights_needed(decisions: Sequence[Event]) -> dict[int, str]:
    """Number of the event of each decision whose weights must stay -> why.

    Parameters
    ----------
    decisions
        All "decision_made" and "decision_deepened" events, in order.
    """
    needed: dict[int, str] = {}
    newest: dict[tuple[object, ...], Event] = {}  # of each kind, instrument and sample
    of_sample: dict[str, str] = {}  # as versions saw it that did not note what a decision rests on
    by_name: dict[str, list[Event]] = {}
    for e in decisions:
        decision, asked = e.body["decision"], e.body.get("asked")
        sample = decision["sample_id"]
        if e.kind == kinds.DECISION_DEEPENED:
            rests_on = e.body["of"]
        elif not _could_go_on(decision):
            rests_on = None
        else:
            rests_on = of_sample.get(sample) if asked is None else asked.get("previous")
        needed |= {before.seq: f"decision {decision['decision_id']} rests on them" for before in by_name.get(rests_on or "", [])}
        by_name.setdefault(decision["decision_id"], []).append(e)
        if decision["outcome"] != "bad_scan":
            newest[e.kind, e.body.get("instrument_id"), sample] = e
            of_sample[sample] = decision["decision_id"]
    return needed | {e.seq: f"the next scan of {sample} may go on from them" for (_, _, sample), e in newest.items()}


def _could_go_on(decision: Mapping[str, Any]) -> bool:
    """Whether the weights of the decision before bore on this one; in doubt they did."""
    if decision["outcome"] == "bad_scan":
        return False
    why = decision.get("cold_because") or ""
    return not why or why.startswith(_USED)


def _older(path: Path, than: datetime) -> bool:
    try:
        return path.stat().st_mtime < than.timestamp()
    except OSError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
