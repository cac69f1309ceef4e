"""Reports faults at the instrument that neither a scan nor a result shows, so that the agent records them."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable
from datetime import datetime

from instrument_adapters.client.listener import ReportEvent
from instrument_adapters.instrument import Instrument, Telling
from instrument_adapters.protocol import codec
from instrument_adapters.protocol.messages import TroubleMessage, as_sentence
from instrument_adapters.spool.client_state import Outgoing
from instrument_adapters.spool.spool import Spool, SpoolError


class FaultReports:
    """Sends each fault to the agent until the agent has recorded it.

    Parameters
    ----------
    spool
        Journal in which each fault is recorded before it is sent.
    clock
        Wall time, for `sent_at`.
    post
        Sends a message and repeats it until it is answered.
    report
        Reports events to the user.
    """

    def __init__(
        self, spool: Spool, clock: Callable[[], datetime], post: Callable[[Outgoing], None], report: ReportEvent
    ) -> None:
        self._spool, self._clock, self._post, self._report = spool, clock, post, report
        self._last = ("", "")

    def subscribe_to(self, instrument: Instrument) -> None:
        """Forward the faults that an instrument reports itself; call it from the event loop's thread."""
        loop = asyncio.get_running_loop()

        def forward(event: str, sentence: str) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the client has ended
                loop.call_soon_threadsafe(self._on_fault, event, sentence)

        if isinstance(instrument, Telling):
            instrument.tell_troubles(forward)

    def report(self, event: str, sentence: str, level: int) -> None:
        """Report a fault to the user and the agent; a repetition of the last one goes to the user only."""
        text = as_sentence(sentence)
        self._report(event, text, level)
        if (event, text) == self._last:
            return
        self._last = (event, text)
        message = TroubleMessage(id=f"trouble-{uuid.uuid4().hex}", sent_at=self._clock(), event=event, sentence=text)
        outgoing = Outgoing(message, codec.encode(codec.Packet(message)))
        self._spool.send(outgoing)
        self._post(outgoing)

    def _on_fault(self, event: str, sentence: str) -> None:
        """Report a fault of the instrument; an invalid one is not allowed to end the client."""
        try:
            self.report(event, sentence, logging.WARNING)
        except SpoolError:
            pass  # the user has seen it; the next scan or result that cannot be recorded ends the client with the reason
        except ValueError as error:
            self._report("trouble_left_out", f"a fault report cannot be sent: {codec.explain(error)}", logging.WARNING)
