"""Receives the messages of the instruments: part by part, small ones at once, large ones with the help of a thread.

The event loop sends commands and answers, so nothing here may hold it up: a message of millions of parts is discarded in
slices, and one of half a gigabyte is decoded, hashed and stored by a thread. What is recorded is recorded in the loop all the
same, so the events of a run have one order; the messages of one instrument are handled in the order in which they came.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
import zmq
import zmq.asyncio

from agent.errors import HistoryError, fault_sentence
from agent.messaging.dispatcher import Dispatcher, Prepared
from agent.service.connection_guard import MESSAGE_BYTES_MAX, ConnectionGuard
from agent.service.rate_limit import SenderLimits
from agent.service.routes import name_in
from instrument_adapters.errors import ProtocolError
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, decode

PARTS_MAX = 17  # the header and 16 arrays
LARGE_BYTES = 256 << 10  # from here on a thread decodes, hashes and stores
HELD_BYTES_MAX = 2 * MESSAGE_BYTES_MAX  # of messages that wait for the thread
_WAITING_MAX = 64  # messages of one instrument behind a large one
_MANY_PARTS = 256
_PART_BYTES = 64  # that libzmq needs for each part
_SLICE_S = 0.003  # of the event loop's time, for what is discarded
_LOG = structlog.get_logger("vaestar.agent")
_Result = TypeVar("_Result")

#: Messages that need not keep their place behind a large one of the same instrument: nothing that is recorded depends on it.
_UNORDERED = wire.Ack | wire.Refused | wire.Heartbeat | wire.StatusMessage | wire.LinesMessage | wire.Hello


@dataclass(frozen=True, eq=False)
class Received:
    """A message as it came from the socket; its arrays are views of what zmq received."""

    identity: bytes
    frames: Sequence[bytes]
    key: str
    size: int
    discarded: int = 0  # parts beyond those that any message has
    descriptor: int = -1  # of its connection

    @property
    def instrument_id(self) -> str:
        """The name; a client without one gets one from zmq that is not text, and is answered as well."""
        return name_in(self.identity)


Check = Callable[[Received], None]
"""Raises a `ProtocolError` if the sender may not use its name."""

Answer = Callable[[Received, Packet, Prepared | None], Awaitable[None]]
"""Has a message handled, and answers it."""

Refuse = Callable[[Received, ProtocolError], Awaitable[None]]
"""Answers a message that cannot be handled."""


class Receiver:
    """Reads the ROUTER socket for as long as `run` does.

    Parameters
    ----------
    router
        Socket to which the instruments are connected.
    dispatcher
        Prepares large messages, and knows which instruments have said hello.
    guard
        Is told which messages have been read.
    limits
        Says what each sender may send.
    check, answer, refuse
        Check the sender of a message, handle it, and answer one that cannot be handled.
    key_of
        Public key of the client that sent a message; empty without keys.
    on_fault
        Called with the error if the history cannot be written.
    """

    def __init__(
        self,
        router: zmq.asyncio.Socket,
        dispatcher: Dispatcher,
        guard: ConnectionGuard,
        limits: SenderLimits,
        check: Check,
        answer: Answer,
        refuse: Refuse,
        key_of: Callable[[Sequence[zmq.Frame]], str],
        on_fault: Callable[[HistoryError], None],
    ) -> None:
        self._router = router
        self._plain: zmq.Socket[bytes] = zmq.Socket.shadow(router.underlying)
        self._dispatcher, self._guard, self._limits = dispatcher, guard, limits
        self._check, self._answer, self._refuse = check, answer, refuse
        self._key_of, self._on_fault = key_of, on_fault
        self._thread = ThreadPoolExecutor(1, "messages")
        self._last: dict[str, asyncio.Task[None]] = {}  # by instrument, while a large message of it is being handled
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: dict[str, int] = {}
        self._handling: set[tuple[str, bytes]] = set()  # instrument and header of the large messages being handled
        self._held = 0

    async def run(self) -> None:
        """Receive messages until cancelled; large ones that are being handled are then given up, to be sent again."""
        try:
            while True:
                message = await self._next()
                if message is not None:
                    await self._take(message)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.to_thread(self._thread.shutdown)

    async def _next(self) -> Received | None:
        """The next message; None if its sender exceeds its limits."""
        first = await self._router.recv(copy=False)
        parts = [first]
        while parts[-1].more and len(parts) <= PARTS_MAX:
            parts.append(self._plain.recv(zmq.NOBLOCK, copy=False))
        discarded = discarded_bytes = 0
        slice_ends_s = time.monotonic() + _SLICE_S
        while self._plain.getsockopt(zmq.RCVMORE):
            discarded_bytes += len(self._plain.recv(zmq.NOBLOCK))
            discarded += 1
            if discarded % _MANY_PARTS == 0 and time.monotonic() > slice_ends_s:
                await asyncio.sleep(0)  # the loop has more important things to do
                slice_ends_s = time.monotonic() + _SLICE_S
        size = sum(len(part) for part in parts[1:])
        identity, key = first.bytes, self._key_of(parts)
        name = name_in(identity)
        known = name in self._dispatcher.ledger.instruments
        descriptor = _descriptor(parts[-1])
        self._guard.read(descriptor, size + discarded_bytes, len(parts) + discarded, known=known)
        # A key cannot be invented, unlike a name. A connection is no sender: a client has a new one after each break.
        sender = (key or name).encode()
        if not self._limits.allows(sender, size + discarded_bytes + _PART_BYTES * discarded, known=known or bool(key)):
            _LOG.debug("message dropped: the sender exceeds its limits", instrument=identity, size=size)
            return None
        frames: list[Any] = [part.bytes for part in parts[1:2]] + [part.buffer.toreadonly() for part in parts[2:]]
        return Received(identity, frames, key, size, discarded, descriptor)

    async def _take(self, message: Received) -> None:
        try:
            self._check(message)
            _check_parts(message)
            packet = None if message.size >= LARGE_BYTES else decode(message.frames)
        except Exception as error:  # noqa: BLE001 - the service's outer edge: no message may end the run
            await self._refuse(message, as_refusal(error, message.instrument_id))
            return
        if packet is None:
            self._begin(message, None)
        elif not self._may_be_handled(message, packet):
            _LOG.debug("message not answered: too many of its kind", instrument=message.identity, message=packet.message.type)
        elif message.instrument_id in self._last and not isinstance(packet.message, _UNORDERED):
            self._begin(message, packet)
        else:
            await self._answer(message, packet, None)
            if isinstance(packet.message, wire.Hello) and message.instrument_id in self._dispatcher.ledger.instruments:
                self._guard.read(message.descriptor, 0, 0, known=True)  # from now on its connection is kept

    def _may_be_handled(self, message: Received, packet: Packet) -> bool:
        if isinstance(packet.message, wire.Hello):
            return self._limits.allows_hello(
                message.instrument_id.encode(), known=message.instrument_id in self._dispatcher.ledger.instruments
            )
        return not isinstance(packet.message, wire.TroubleMessage) or self._limits.allows_trouble(message.instrument_id.encode())

    def _begin(self, message: Received, packet: Packet | None) -> None:
        """Handle a message in a task of its own, after the one before it of the same instrument.

        A message that comes again while it is being handled, and one that finds no room, are not answered: their sender repeats
        them, and gets the answer then.
        """
        name = message.instrument_id
        identity = (name, hashlib.sha256(message.frames[0]).digest())
        full = self._held + message.size > HELD_BYTES_MAX or self._waiting.get(name, 0) >= _WAITING_MAX
        if identity in self._handling or full:
            _LOG.debug("message not answered: it is being handled, or too much waits", instrument=name, size=message.size)
            return
        self._handling.add(identity)
        self._held += message.size
        self._waiting[name] = self._waiting.get(name, 0) + 1
        task = asyncio.create_task(self._handle(message, packet, self._last.get(name)))
        self._last[name] = task
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._finished(message, identity, done))

    def _finished(self, message: Received, identity: tuple[str, bytes], task: asyncio.Task[None]) -> None:
        name = message.instrument_id
        self._tasks.discard(task)
        self._handling.discard(identity)
        self._held -= message.size
        self._waiting[name] -= 1
        if self._last.get(name) is task:
            del self._last[name], self._waiting[name]
        error = None if task.cancelled() else task.exception()
        if isinstance(error, HistoryError):
            self._on_fault(error)
        elif error is not None:
            _LOG.error("a message could not be followed up", instrument=message.instrument_id, exc_info=error)

    async def _handle(self, message: Received, packet: Packet | None, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        since_s = time.monotonic()
        try:
            if packet is None:
                packet = await self._in_thread(lambda: decode(message.frames))
            if not self._may_be_handled(message, packet):
                return
            decoded = packet
            prepared = await self._in_thread(lambda: self._dispatcher.prepare(decoded))
            if self._dispatcher.will_record_arrays(message.instrument_id, decoded):
                prepared = await self._in_thread(lambda: self._dispatcher.store(decoded, prepared))
        except HistoryError:
            raise  # a message that cannot be recorded must not be answered
        except Exception as error:  # noqa: BLE001 - the service's outer edge: no message may end the run
            await self._refuse(message, as_refusal(error, message.instrument_id))
            return
        _LOG.debug("large message read", instrument=message.identity, seconds=round(time.monotonic() - since_s, 2))
        await self._answer(message, packet, prepared)

    async def _in_thread(self, call: Callable[[], _Result]) -> _Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _check_parts(message: Received) -> None:
    if message.discarded:
        found = len(message.frames) + message.discarded
        raise ProtocolError("wrong_frame_count", f"the message has {found} frames, at most {PARTS_MAX} are accepted")


def as_refusal(error: Exception, instrument_id: str) -> ProtocolError:
    """The refusal of a message in whose handling an error was raised; one that is a fault of the agent is logged."""
    if isinstance(error, ProtocolError):
        return error
    _LOG.error("a message could not be handled", instrument=instrument_id, exc_info=error)
    return ProtocolError("agent_fault", fault_sentence(error))


def _descriptor(part: zmq.Frame) -> int:
    """The file descriptor of the connection that a message came over; -1 if it is unknown."""
    try:
        return int(part.get(zmq.SRCFD))
    except zmq.ZMQError:
        return -1
