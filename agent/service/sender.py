"""What goes out to instruments: answers at once; commands and recommendations until they are acknowledged."""

import time
from collections.abc import Callable

import structlog
import zmq
import zmq.asyncio

from agent.messaging.dispatcher import Dispatcher
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, encode

_LOG = structlog.get_logger("vaestar.agent")
RESEND_S = 10.0


class Sender:
    """The agent's voice.

    Parameters
    ----------
    router
        Where instruments are connected.
    dispatch
        Knows what is open.
    monotonic
        Seconds from any origin; never jumps backwards.
    """

    def __init__(self, router: zmq.asyncio.Socket, dispatch: Dispatcher, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._router, self._dispatch, self._monotonic = router, dispatch, monotonic
        self._sent_at: dict[tuple[str, str], float] = {}  # by instrument and message id

    async def send(self, identity: bytes, message: wire.Message) -> bool:
        """True if the message went out; never waits for an instrument that does not read."""
        frames = [identity, *encode(Packet(message))]  # type: ignore[arg-type]
        try:
            await self._router.send_multipart(frames, flags=zmq.DONTWAIT)
        except zmq.ZMQError as error:
            # Whoever is away gets what it missed when it says hello again.
            _LOG.info("instrument away", instrument=identity, message=type(message).__name__, why=str(error))
            return False
        return True

    def again(self, instrument_id: str) -> None:
        """An instrument may have missed everything: what is open is due at once."""
        self._sent_at = {key: at for key, at in self._sent_at.items() if key[0] != instrument_id}

    async def attend(self, instrument_id: str) -> None:
        """Send an instrument what is open and due: the newest command first, then the newest recommendation."""
        self._dispatch.settle(instrument_id)
        if instrument_id not in self._dispatch.limits:
            return
        command = self._dispatch.commands.open(instrument_id)
        if command is not None and self._due(instrument_id, command.id):
            await self._say(instrument_id, command)
        # What was sent last comes to be repeated only if it is still to be said, so the state is looked at after the await.
        entry = self._dispatch.due(instrument_id)
        if entry is None or entry.decision is None or not self._due(instrument_id, f"rec-{entry.decision.decision_id}"):
            return
        if await self._say(instrument_id, self._dispatch.recommendation(entry)):
            self._dispatch.sent(entry)

    async def beat(self, instrument_id: str) -> None:
        """A sign of life; and a question, where an instrument waits for answers to what has not come."""
        await self.send(instrument_id.encode(), self._dispatch.heartbeat(instrument_id))
        resend = self._dispatch.resend(instrument_id)
        if resend is not None:
            _LOG.info("asking for what has not come", instrument=instrument_id)
            await self.send(instrument_id.encode(), resend)

    def _due(self, instrument_id: str, message_id: str) -> bool:
        sent_at = self._sent_at.get((instrument_id, message_id))
        return sent_at is None or self._monotonic() - sent_at >= RESEND_S

    async def _say(self, instrument_id: str, message: wire.Message) -> bool:
        self._sent_at[instrument_id, message.id] = self._monotonic()
        return await self.send(instrument_id.encode(), message)
