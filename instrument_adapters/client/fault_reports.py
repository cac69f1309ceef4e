"""Reports faults at the instrument that neither a scan nor a result shows, and holds that the agent may not know of."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable
from datetime import datetime

from instrument_adapters.client.listener import ReportEvent
from instrument_adapters.instrument import Instrument, Telling
from instrument_adapters.protocol import codec
from instrument_adapters.protocol.holds import HELD
from instrument_adapters.protocol.messages import TroubleMessage, as_sentence
from instrument_adapters.spool.client_state import Outgoing
from instrument_adapters.spool.command_state import CommandState
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
        self._send(f"trouble-{uuid.uuid4().hex}", event, text)

    def report_hold(self) -> None:
        """Report the pause or stop that holds the instrument, unless the agent is known to know of it."""
        held = self._spool.command_state
        if held.hold_known or held.hold_id in self._spool.unanswered:
            return
        sentence = f"{held.hold_sentence}: only an agent that knows of it can lift it"
        self._report("hold_reported", f"the agent does not show {sentence}; reporting it", logging.WARNING)
        self._send(held.hold_id, HELD[held.state], held.hold_sentence)

    def note_recorded(self, message_id: str) -> bool:
        """Note that the agent has recorded a message; True if that was the report of the present hold, which it knows now."""
        if message_id != self._spool.command_state.hold_id:
            return False
        self._spool.change_command_state(CommandState.with_hold_known)
        return True

    def end_hold_reports(self) -> list[str]:
        """Ids of the unanswered reports of holds once the instrument runs: no agent has to take them over any more."""
        if self._spool.command_state.state != "running":
            return []
        held = HELD.values()
        ended = [i for i, o in self._spool.unanswered.items() if o.message.type == "trouble" and o.message.event in held]
        for message_id in ended:
            self._spool.record_answer(message_id, run_id="", refused=False)
        return ended

    def _send(self, message_id: str, event: str, sentence: str) -> None:
        message = TroubleMessage(id=message_id, sent_at=self._clock(), event=event, sentence=sentence)
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
