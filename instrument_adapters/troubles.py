"""What goes wrong at the instrument and ends in no scan and no result is told to the agent, for the record."""

import uuid
from collections.abc import Callable
from datetime import datetime

from instrument_adapters import codec
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
    """

    def __init__(self, spool: Spool, clock: Callable[[], datetime], post: Callable[[Outgoing], None]) -> None:
        self._spool, self._clock, self._post = spool, clock, post
        self._last = ("", "")

    def tell(self, event: str, sentence: str) -> None:
        """Tell one; the same again, with nothing else between, is not worth a second record."""
        if (event, sentence) == self._last:
            return
        self._last = (event, sentence)
        message = TroubleMessage(id=f"trouble-{uuid.uuid4().hex}", sent_at=self._clock(), event=event, sentence=sentence[:2000])
        outgoing = Outgoing(message, codec.encode(codec.Packet(message)))
        self._spool.send(outgoing)
        self._post(outgoing)
