"""Sends messages to instruments: answers once, commands and recommendations until they are acknowledged."""

import time
from collections.abc import Callable

import structlog
import zmq
import zmq.asyncio

from agent.errors import HistoryError
from agent.messaging.dispatcher import Dispatcher
from agent.service.routes import Routes
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, encode

_LOG = structlog.get_logger("vaestar.agent")
RESEND_S = 10.0
_UNREACHABLE_MAX = 1024


class Sender:
    """Sends messages over the ROUTER socket.

    Parameters
    ----------
    router
        Socket to which the instruments are connected.
    dispatcher
        Source of the open commands and recommendations.
    routes
        Connections of each instrument. A command goes to all of them: a stop must reach the true one, and does no harm to others.
    monotonic
        Monotonic clock in seconds.
    """

    def __init__(
        self,
        router: zmq.asyncio.Socket,
        dispatcher: Dispatcher,
        routes: Routes,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._router, self._dispatcher, self._routes, self._monotonic = router, dispatcher, routes, monotonic
        self._sent_at: dict[tuple[str, str], float] = {}  # by instrument and message id
        self._unreachable: set[bytes] = set()  # known from the log; each gets a heartbeat every few seconds

    async def send(self, identity: bytes, message: wire.Message) -> bool:
        """Send a message without blocking; False if the instrument is not connected or does not read."""
        frames = [identity, *encode(Packet(message))]  # type: ignore[arg-type]
        try:
            await self._router.send_multipart(frames, flags=zmq.DONTWAIT)
        except zmq.ZMQError as error:
            # An instrument that is disconnected gets what it missed after its next hello.
            if identity not in self._unreachable:
                _LOG.info(
                    "message not sent: the instrument does not receive",
                    instrument=identity,
                    message=type(message).__name__,
                    why=str(error),
                )
            if len(self._unreachable) < _UNREACHABLE_MAX:
                self._unreachable.add(identity)
            if error.errno == zmq.EHOSTUNREACH:
                self._routes.drop(identity)
            return False
        self._unreachable.discard(identity)
        return True

    def mark_all_due(self, instrument_id: str) -> None:
        """Make all open messages of an instrument due at once, because it may have missed them."""
        self._sent_at = {key: at for key, at in self._sent_at.items() if key[0] != instrument_id}

    async def send_open(self, instrument_id: str) -> None:
        """Send an instrument its open messages that are due: first the newest command, then the newest recommendation.

        A fault with one recommendation rejects its decision, and any other is logged: neither ends the run.
        """
        try:
            await self._send_open(instrument_id)
        except HistoryError:
            raise
        except Exception:  # noqa: BLE001 - the service's outer edge: one instrument's messages must not end the run
            _LOG.exception("the open messages could not be sent", instrument=instrument_id)

    async def _send_open(self, instrument_id: str) -> None:
        self._dispatcher.decision_log.apply_policy(instrument_id)
        if not self._dispatcher.presence.is_connected(instrument_id):
            return
        command = self._dispatcher.commands.unacknowledged(instrument_id)
        if command is not None and self._due(instrument_id, command.id):
            self._sent_at[instrument_id, command.id] = self._monotonic()
            self._routes.asked(instrument_id, command.id)
            await self.send_all(instrument_id, command)
        # The state may have changed while the command was sent, so what is due is determined only now.
        entry = self._dispatcher.due(instrument_id)
        if entry is None or entry.decision is None or not self._due(instrument_id, f"rec-{entry.decision.decision_id}"):
            return
        try:
            recommendation = self._dispatcher.recommendation(entry)
            self._sent_at[instrument_id, recommendation.id] = self._monotonic()
            sent = await self._send_newest(instrument_id, recommendation)
        except HistoryError:
            raise
        except Exception as error:  # noqa: BLE001 - it is that decision's outcome; the next sending has no points
            self._dispatcher.approvals.reject_after_fault(entry, error)
            self._sent_at.pop((instrument_id, f"rec-{entry.decision.decision_id}"), None)
            return
        if sent:
            self._dispatcher.sent(entry)

    async def send_heartbeat(self, instrument_id: str) -> None:
        """Send a heartbeat, and a request to resend if the instrument waits for answers to messages that never arrived."""
        await self.send_all(instrument_id, self._dispatcher.heartbeat(instrument_id))
        resend = self._dispatcher.resend(instrument_id)
        if resend is not None:
            _LOG.info("asking the instrument to resend messages that did not arrive", instrument=instrument_id)
            await self._send_newest(instrument_id, resend)

    async def send_all(self, instrument_id: str, message: wire.Message) -> bool:
        """Send a message to all connections of an instrument; False if none receives it."""
        return any([await self.send(route, message) for route in self._routes.all_of(instrument_id)])

    def _due(self, instrument_id: str, message_id: str) -> bool:
        sent_at = self._sent_at.get((instrument_id, message_id))
        return sent_at is None or self._monotonic() - sent_at >= RESEND_S

    async def _send_newest(self, instrument_id: str, message: wire.Message) -> bool:
        """Send a message to the connection that spoke last; where that one has ended, to the one before it."""
        while (route := self._routes.newest(instrument_id)) is not None:
            if await self.send(route, message):
                return True
            if route == self._routes.newest(instrument_id):  # it lives, but does not read
                return False
        return False
