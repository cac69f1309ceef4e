"""What the agent itself finds about a result: was its point asked for, was it measured where it was sent, can its date be right?

A result keeps the status that the instrument gave it. The findings are fields of their own in the recorded event.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from agent.ledger.entries import RequestEntry, ScanEntry
from agent.schema.wording import ELSEWHERE, MISDATED, UNASKED
from instrument_adapters.protocol.messages import ResultMessage


@dataclass(frozen=True)
class Findings:
    """Findings on a result, each a name and a sentence; `used_at` replaces a date that cannot be right."""

    sentences: dict[str, str]
    used_at: datetime | None = None

    def recorded(self, pause_on: tuple[str, ...]) -> dict[str, Any]:
        """Fields of the event; none if nothing was found."""
        if not self.sentences:
            return {}
        fields: dict[str, Any] = {"judged": list(self.sentences), "judgement": "; ".join(self.sentences.values())}
        if self.used_at is not None:
            fields["used_at"] = self.used_at.isoformat()
        pauses = [sentence for name, sentence in self.sentences.items() if name in pause_on]
        return fields | ({"pauses": "; ".join(pauses)} if pauses else {})


def check_result(
    message: ResultMessage,
    request: RequestEntry,
    scan: ScanEntry,
    tolerance_m: float,
    misdated: str,
    received_at: datetime | None,
) -> Findings:
    """Findings on a result.

    Parameters
    ----------
    message
        The result.
    request, scan
        The request that it answers, and the scan that the point was chosen from.
    tolerance_m
        Largest distance in metres between the requested and the measured position.
    misdated
        Why the date of the measurement cannot be right; empty if it can.
    received_at
        Time of receipt by the instrument's clock, used in place of such a date.
    """
    sentences: dict[str, str] = {}
    if message.status != "skipped" and not request.sent:
        sentences[UNASKED] = f"{message.request_id} was approved but never sent to the instrument"
    elif message.status == "ok" and scan.void_reason:
        sentences[UNASKED] = f"{message.request_id} was no longer to be measured: {scan.void_reason}"
    if message.status != "skipped" and message.x_m is not None and message.y_m is not None:
        off_m = math.hypot(message.x_m - request.request.x_m, message.y_m - request.request.y_m)
        if off_m > tolerance_m:
            sentences[ELSEWHERE] = (
                f"{message.request_id} was measured {off_m * 1e9:.4g} nm from where it was sent, at most "
                f"{tolerance_m * 1e9:g} nm are allowed; check the stage and its sensors"
            )
    if message.measured_at is not None and misdated:
        sentences[MISDATED] = f"{misdated}; the time of its receipt is used instead"
    return Findings(sentences, received_at if MISDATED in sentences else None)
