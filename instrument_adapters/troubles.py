"""What goes wrong at the instrument and ends in no scan and no result is told, here and to the agent, for the record."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable
from datetime import datetime

from instrument_adapters import codec
from instrument_adapters.instrument import Instrument, Telling
from instrument_adapters.listener import Tell
from instrument_adapters.memory import Outgoing
from instrument_adapters.messages import TroubleMessage
from instrument_adapters.spool import Spool


class Troubles:
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
                loop.call_soon_threadsafe(self.tell, event, sentence, logging.WARNING)

        if isinstance(instrument, Telling):
            instrument.tell_troubles(heard)

    def tell(self, event: str, sentence: str, level: int) -> None:
        """Tell one; the same again, with nothing else between, is not worth a second record."""
        self._tell(event, sentence, level)
        if (event, sentence) == self._last:
            return
        self._last = (event, sentence)
        message = TroubleMessage(id=f"trouble-{uuid.uuid4().hex}", sent_at=self._clock(), event=event, sentence=sentence[:2000])
        outgoing = Outgoing(message, codec.encode(codec.Packet(message)))
        self._spool.send(outgoing)
        self._post(outgoing)
