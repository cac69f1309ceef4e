"""Refused and repeated messages and denied clients, as they are recorded: the first ones in full, then a sum for each reason.

A client that repeats a bad message, or invents a new one each time, would otherwise fill history and log; the answer that each
message gets does not depend on what is recorded.
"""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from agent.ledger.recorder import Recorder
from agent.schema import event_kinds as kinds

FULL_MAX = 20  # of one reason, recorded in full before the sums begin
SUM_S = 60.0
DENIED_SUM_S = 600.0
_REASONS_MAX = 1024
_REMEMBERED_MAX = 1024
_LOG = structlog.get_logger("vaestar.agent")
_LOGGED = {kinds.MESSAGE_REFUSED: "message refused", kinds.CLIENT_DENIED: "client denied"}


@dataclass
class _Reason:
    """What is known of one reason of one sender."""

    at_s: float  # when it was last recorded
    full: float = FULL_MAX  # how many may still be recorded in full
    count: int = 0  # not recorded yet
    last: tuple[str, dict[str, Any]] = field(default=("", {}))  # subject and body of the newest one


class RefusalLog:
    """Records refusals and denials without letting them fill the history.

    Parameters
    ----------
    recorder
        Writes the events.
    monotonic
        Monotonic clock in seconds.
    """

    def __init__(self, recorder: Recorder, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._recorder, self._monotonic = recorder, monotonic
        self._reasons: dict[tuple[str, str, str], _Reason] = {}
        self._noted: deque[str] = deque(maxlen=_REMEMBERED_MAX)  # keys of the last events of which there is only one

    def note(
        self, kind: str, subject: str, body: Mapping[str, Any], *, sender: str = "", code: str = "", once: str | None = None
    ) -> None:
        """Record a refusal, or count it.

        Parameters
        ----------
        kind, subject, body
            As in `Event`.
        sender
            Name of an instrument of this run; empty for all others, whose names do not tell them apart.
        code
            Reason for programs.
        once
            As in `History.record`; the same key is not counted again either.
        """
        if once is not None:
            if once in self._noted:
                return
            self._noted.append(once)
        now_s = self._monotonic()
        key = (kind, sender, code)
        if key not in self._reasons and len(self._reasons) >= _REASONS_MAX:
            key = (kind, "", "")
        reason = self._reasons.setdefault(key, _Reason(now_s))
        if not reason.count:
            reason.full = min(FULL_MAX, reason.full + (now_s - reason.at_s) / _sum_s(kind))
        if reason.full >= 1 and not reason.count:
            reason.full -= 1
            reason.at_s = now_s
            self._record(kind, subject, dict(body), once)
            return
        reason.count += 1
        reason.last = subject, dict(body)

    def flush(self, *, everything: bool = False) -> None:
        """Record the sums that are due; with `everything`, all of them."""
        now_s = self._monotonic()
        for (kind, _, _), reason in self._reasons.items():
            if reason.count and (everything or now_s - reason.at_s >= _sum_s(kind)):
                subject, body = reason.last
                seconds = round(now_s - reason.at_s)
                body["reason"] = f"{reason.count} more within {seconds} s; the last: {body.get('reason') or subject}"[:2000]
                count, reason.count, reason.at_s = reason.count, 0, now_s
                self._record(kind, subject, body | {"count": count})

    def _record(self, kind: str, subject: str, body: Mapping[str, Any], once: str | None = None) -> None:
        self._recorder.record(kind, subject, body, once=once)
        if kind in _LOGGED and body.get("by") != "instrument":
            _LOG.warning(_LOGGED[kind], **{"instrument" if "instrument_id" in body else "address": subject}, **_facts(body))


def _facts(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in ("code", "key", "reason") if name in body}


def _sum_s(kind: str) -> float:
    return DENIED_SUM_S if kind == kinds.CLIENT_DENIED else SUM_S
