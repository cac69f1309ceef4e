"""Retention: releases arrays that no decision needs and that do not show why a decision was made.

Scans, the curves of results, and the arrays of the chosen candidate are kept for ever. If the settings allow it, the latents of
the other candidates are removed, and so are weights that no decision was warm-started from and none can be any more. Each removal
is recorded first, with the digest, so a replay can still compare: a repeated decision gives the same latents and weights, and so
the same digests.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from agent.config.retention import RetentionSettings
from agent.history.event_log import Event, History
from agent.history.integrity import releasable
from agent.schema import event_kinds as kinds

Record = Callable[[str, str, Mapping[str, Any]], Event | None]  # kind, subject, body
_LATENTS = "latents"
# Beginnings of `cold_because` where a search examined the weights of an earlier decision and started cold nevertheless.
_WEIGHTS_EXAMINED = ("the held-out ELBO", "decision ")


@dataclass(frozen=True, slots=True)
class ReferencedArray:
    """An array and the event that names it.

    Parameters
    ----------
    digest
        Digest of the array.
    seq, kind
        Sequence number and kind of the event.
    name
        Name of the array in the event.
    recorded_at
        Time of the event, UTC.
    needed
        Reason why the array must be kept; empty if nothing depends on it.
    """

    digest: str
    seq: int
    kind: str
    name: str
    recorded_at: datetime
    needed: str = ""


@dataclass(frozen=True)
class ReleasableArray:
    """An array that may be removed, with sequence number and array name of an event that names it."""

    digest: str
    seq: int
    name: str


@dataclass(frozen=True)
class ReleasePlan:
    """Arrays and files that may be removed.

    Parameters
    ----------
    after
        Sequence number of the last event taken into account.
    released
        Arrays on which nothing depends.
    orphans
        Files that belong to no event.
    unfinished
        Digests of arrays released earlier whose files have not been removed yet.
    settings
        Settings by which the plan was made.
    """

    after: int
    released: tuple[ReleasableArray, ...]
    orphans: tuple[Path, ...]
    unfinished: tuple[str, ...]
    settings: RetentionSettings


async def run_retention(run_directory: Path, settings: RetentionSettings, now: Callable[[], datetime], record: Record) -> None:
    """Plan and release for a running service; the plan is made in a thread, so that messages are answered meanwhile.

    Parameters
    ----------
    run_directory
        Path of the run directory.
    settings
        Retention settings.
    now
        Wall clock.
    record
        Writes an event to the history.
    """

    def plan_in_thread() -> ReleasePlan:
        with History(run_directory, read_only=True) as reader:
            return plan_release(reader, settings, now())

    plan = await asyncio.to_thread(plan_in_thread)
    with History(run_directory, read_only=True) as reader:
        release(reader, plan, record)


def plan_release(history: History, settings: RetentionSettings, now: datetime) -> ReleasePlan:
    """Plan what may be removed now. It only reads, so it can use a second, read-only `History` of the run in a thread."""
    after = history.head.seq
    references, kept, released = _references(history, after)
    orphans_until = now - timedelta(days=settings.keep_orphans_days)
    referenced = {r.digest for r in references}
    not_kept = released | referenced
    stored: set[str] = set()  # of those that are not kept; a digest in an altered event may name no file of the store
    orphans: list[Path] = []
    for digest, path in history.arrays.files():  # one at a time: a run of months has hundreds of thousands
        if digest in not_kept:
            stored.add(digest)
        if digest not in kept and digest not in referenced and _older_than(path, orphans_until):
            orphans.append(path)
    unfinished = tuple(sorted(released & stored))
    candidates = releasable_arrays([r for r in references if r.digest not in kept], settings, now)
    arrays = [a for a in candidates if a.digest in stored and a.digest not in released]
    return ReleasePlan(after, tuple(arrays), tuple(orphans), unfinished, settings)


def releasable_arrays(references: Sequence[ReferencedArray], settings: RetentionSettings, now: datetime) -> list[ReleasableArray]:
    """Arrays that no event needs. An array named by several events is kept while one of them needs it."""
    until = now - timedelta(days=settings.keep_days)
    kept = {r.digest for r in references if r.needed or r.recorded_at > until or not _may_release(r, settings)}
    return [ReleasableArray(r.digest, r.seq, r.name) for r in references if r.digest not in kept]


def release(history: History, plan: ReleasePlan, record: Record) -> Event | None:
    """Record what is removed, then remove it; arrays named again since the plan was made are kept.

    Parameters
    ----------
    history
        History for which the plan was made.
    plan
        Recent plan, possibly from another thread.
    record
        Writes an event to the history.

    Returns
    -------
    Event or None
        The "arrays_released" event; None if nothing is removed.

    Raises
    ------
    HistoryError
        If the removal cannot be recorded; then nothing is removed.
    """
    named_again = {digest for e in history.events(after=plan.after) for digest in e.arrays.values()}
    arrays = [a for a in plan.released if a.digest not in named_again]
    orphans = [path for path in plan.orphans if path.stem not in named_again]
    event = None
    if arrays or orphans:
        event = record(kinds.ARRAYS_RELEASED, "history", _release_body(history, arrays, orphans, plan.settings))
    digests = {a.digest for a in arrays} | {d for d in plan.unfinished if d not in named_again}
    for path in [*orphans, *(history.arrays.path(digest) for digest in sorted(digests))]:
        with contextlib.suppress(OSError):  # the next run of retention tries again
            path.unlink(missing_ok=True)
    return event


def _release_body(
    history: History, arrays: Iterable[ReleasableArray], orphans: Iterable[Path], settings: RetentionSettings
) -> dict[str, Any]:
    released: list[dict[str, Any]] = [asdict(a) | {"bytes": _size(history.arrays.path(a.digest))} for a in arrays]
    orphan_files: list[dict[str, Any]] = [{"file": path.name, "bytes": _size(path)} for path in orphans]
    by_digest = {entry["digest"]: entry["bytes"] for entry in released}
    return {
        "reason": "no decision needs them, and the settings allow their release",
        "settings": settings.model_dump(mode="json"),
        "released": released,
        "orphans": orphan_files,
        "bytes": sum(by_digest.values()) + sum(entry["bytes"] for entry in orphan_files),
    }


def _may_release(reference: ReferencedArray, settings: RetentionSettings) -> bool:
    if not releasable(reference.kind, reference.name):
        return False
    return not (settings.keep_latents if reference.name == _LATENTS else settings.keep_weights)


def _references(history: History, until: int) -> tuple[list[ReferencedArray], set[str], set[str]]:
    """References to arrays that may ever be released, with the reasons to keep them, and two sets of digests.

    The first set holds the arrays that are always kept, nearly all of a long run, of which nothing else is needed; the second
    those that were released and not named again.
    """
    references: list[ReferencedArray] = []
    kept: set[str] = set()
    released: set[str] = set()
    decisions: list[Event] = []
    for e in history.events(outlines=True):
        if e.seq > until:
            break
        released.difference_update(e.arrays.values())
        for name, digest in e.arrays.items():
            if releasable(e.kind, name):
                references.append(ReferencedArray(digest, e.seq, e.kind, name, e.recorded_at))
            else:
                kept.add(digest)
        if e.kind == kinds.ARRAYS_RELEASED:
            released |= {entry["digest"] for entry in e.body["released"]}
        if e.kind in (kinds.DECISION_MADE, kinds.DECISION_DEEPENED):
            decisions.append(_without_details(e))
    needed = weights_needed(decisions)
    return [_with_reason(r, needed) for r in references], kept, released


def _without_details(event: Event) -> Event:
    """A decision's event with only the fields used here, to save memory: a long run has many decisions."""
    kept = ("decision_id", "sample_id", "outcome", "warm_from", "cold_because")
    decision = {name: event.body["decision"].get(name) for name in kept}
    body = {"decision": decision} | {name: event.body.get(name) for name in ("asked", "of", "instrument_id")}
    return Event(event.seq, event.recorded_at, event.kind, event.subject, body)


def _with_reason(reference: ReferencedArray, needed: Mapping[int, str]) -> ReferencedArray:
    if reference.name != _LATENTS and reference.seq in needed:
        return replace(reference, needed=needed[reference.seq])
    return reference


def weights_needed(decisions: Sequence[Event]) -> dict[int, str]:
    """Sequence number of each decision event whose weights must be kept -> reason.

    Parameters
    ----------
    decisions
        All "decision_made" and "decision_deepened" events, in order.
    """
    needed: dict[int, str] = {}
    newest: dict[tuple[object, ...], Event] = {}  # by kind, instrument and sample
    of_sample: dict[str, str] = {}  # the previous decision, for versions that did not record what a decision rests on
    by_id: dict[str, list[Event]] = {}
    for e in decisions:
        decision, asked = e.body["decision"], e.body.get("asked")
        sample = decision["sample_id"]
        if e.kind == kinds.DECISION_DEEPENED:
            rests_on = e.body["of"]
        elif not _used_previous_weights(decision):
            rests_on = None
        else:
            rests_on = of_sample.get(sample) if asked is None else asked.get("previous")
        needed |= {before.seq: f"decision {decision['decision_id']} rests on them" for before in by_id.get(rests_on or "", [])}
        by_id.setdefault(decision["decision_id"], []).append(e)
        if decision["outcome"] != "bad_scan":
            newest[e.kind, e.body.get("instrument_id"), sample] = e
            of_sample[sample] = decision["decision_id"]
    return needed | {e.seq: f"the next search on {sample} may be warm-started from them" for (_, _, sample), e in newest.items()}


def _used_previous_weights(decision: Mapping[str, Any]) -> bool:
    """Whether a decision may have depended on the weights of the one before; True if that is uncertain."""
    if decision["outcome"] == "bad_scan":
        return False
    reason = decision.get("cold_because") or ""
    return not reason or reason.startswith(_WEIGHTS_EXAMINED)


def _older_than(path: Path, time: datetime) -> bool:
    try:
        return path.stat().st_mtime < time.timestamp()
    except OSError:
        return False


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
