"""What goes wrong at the instrument and ends in no scan and no result is told, here and to the agent, for the record."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable
from datetime import datetime

from instrument_adapters.client.listener import Tell
from instrument_adapters.instrument import Instrument, Telling
from instrument_adapters.protocol import codec
from instrument_adapters.protocol.messages import TroubleMessage, as_sentence
from instrument_adapters.spool.client_state import Outgoing
from instrument_adapters.spool.spool import Spool, SpoolError


class FaultReports:
    """Tells the agent of troubles, until it has them on record.

    Parameters
    ----------
    spool
        Where each is written first.
    clock
        Wall time, for `sent_at`.
    post
        Sends what was written until it is answered.
    tell
        Tells whoever watches the client.
    """

    def __init__(self, spool: Spool, clock: Callable[[], datetime], post: Callable[[Outgoing], None], tell: Tell) -> None:
        self._spool, self._clock, self._post, self._tell = spool, clock, post, tell
        self._last = ("", "")

    def listen(self, instrument: Instrument) -> None:
        """Hear from an instrument that tells of its troubles; call it from the event loop's thread."""
        loop = asyncio.get_running_loop()

        def heard(event: str, sentence: str) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: the client has ended
                loop.call_soon_threadsafe(self._heard, event, sentence)

        if isinstance(instrument, Telling):
            instrument.tell_troubles(heard)

    def tell(self, event: str, sentence: str, level: int) -> None:
        """Tell one; the same again, with nothing else between, is not worth a second record."""
        said = as_sentence(sentence)
        self._tell(event, said, level)
        if (event, said) == self._last:
            return
        self._last = (event, said)
        message = TroubleMessage(id=f"trouble-{uuid.uuid4().hex}", sent_at=self._clock(), event=event, sentence=said)
        outgoing = Outgoing(message, codec.encode(codec.Packet(message)))
        self._spool.send(outgoing)
        self._post(outgoing)

    def _heard(self, event: str, sentence: str) -> None:
        """Tell what an instrument has said; nothing that it says may end the client."""
        try:
            self.tell(event, sentence, logging.WARNING)
        except SpoolError:
            pass  # it was told here; the next scan or result that cannot be written ends the client with the reason
        except ValueError as error:
            self._tell("trouble_left_out", f"a trouble cannot be sent: {codec.explain(error)}", logging.WARNING)
