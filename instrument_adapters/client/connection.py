"""The instrument's end of the wire: says hello, repeats what is not answered, beats, and notices when the agent is gone.

One asyncio task owns the socket's sending and one its receiving. zmq reconnects by itself; this file only says hello again.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from instrument_adapters.client.latest_only import LatestOnly
from instrument_adapters.client.listener import Listener
from instrument_adapters.client.retry_queue import Pending, RetryQueue
from instrument_adapters.client.timings import ClientTimings
from instrument_adapters.errors import ProtocolError
from instrument_adapters.protocol import codec
from instrument_adapters.protocol.curve_keys import ClientKeys
from instrument_adapters.protocol.live_lines import Lines
from instrument_adapters.protocol.messages import (
    Ack,
    AnyMessage,
    Bye,
    CommandMessage,
    Heartbeat,
    Hello,
    RecommendationMessage,
    Refused,
    Resend,
    SnapshotMessage,
    StatusMessage,
    Welcome,
)

HELLO_FIRST = "hello_first"  # `Refused.code` of an agent that does not know this instrument (yet)
_FULL_PAUSE_S = 0.1  # when zmq cannot take a message just now
_FAILED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_WATCHED = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | _FAILED


class Connection:
    """The connection to one agent; used in `with`, while `send`, `receive` and `watch` run as tasks of the same event loop.

    Parameters
    ----------
    address
        Where the agent listens, such as "tcp://127.0.0.1:5555".
    make_hello
        A new `Hello` with the given id.
    listener
        Who is told what comes in.
    timings
        How long to wait for what.
    clock
        Wall time, for `sent_at`.
    keys
        Of this instrument and of the agent; None for a connection without encryption.

    Raises
    ------
    ProtocolError
        From `receive`, if the agent refuses this instrument.
    ValueError
        If zmq cannot use the address.
    """

    def __init__(
        self,
        address: str,
        make_hello: Callable[[str], Hello],
        listener: Listener,
        timings: ClientTimings,
        clock: Callable[[], datetime],
        keys: ClientKeys | None = None,
    ) -> None:
        self._keys, self._refusals_told = keys, False
        self._address, self._make_hello, self._listener, self._timings, self._clock = (
            address,
            make_hello,
            listener,
            timings,
            clock,
        )
        self._now = asyncio.get_running_loop().time
        self._wake = asyncio.Event()
        self._outbox = RetryQueue(timings.repeat_s)
        self._lines, self._status = LatestOnly("lines"), LatestOnly("status", timings.status_s)
        self._resend_id, self._resend_at = "", 0.0
        self._connected = False
        self._heard_at = self._now()
        self._silence_told_s = timings.silence_s
        self._beat_due = 0.0
        self._new_hello()
        self._context = zmq.asyncio.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._monitor = self._socket.get_monitor_socket(_WATCHED)
        try:
            self._connect()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket; what is on its way gets a last short moment."""
        self._socket.disable_monitor()
        self._context.destroy(linger=int(1000 * self._timings.stop_s))

    def post(self, message_id: str, frames: Sequence[bytes]) -> None:
        """Send a message until it is answered."""
        self._outbox.post(message_id, frames)
        self._wake.set()

    def withdraw(self, message_id: str) -> None:
        """Send a message no more: its answer came in another form."""
        self._outbox.take(message_id)

    def show(self, lines: Lines) -> None:
        """Let the agent see lines of a frame that is being recorded, if it is there and has not said that it does not want to."""
        if not (self._connected and self._welcome) or self._lines.unwanted:
            return
        try:
            self._lines.put(codec.encode(codec.lines_packet(lines, Heartbeat(id=_fresh("lines"), sent_at=self._clock()))))
        except ValueError as error:
            self._lines.unwanted = True
            self._listener.tell("lines_left_out", f"lines cannot be sent: {codec.explain(error)}", logging.WARNING)
        self._wake.set()

    def show_status(self, **fields: object) -> None:
        """Let the agent see what the instrument is doing, on the same terms; the fields are those of `StatusMessage`."""
        if self._connected and self._welcome:
            message = StatusMessage.model_validate({"id": _fresh("status"), "sent_at": self._clock(), **fields})
            self._status.put(codec.encode(codec.Packet(message)))
            self._wake.set()

    async def bye(self, reason: str) -> None:
        """Tell the agent that nothing more will come."""
        if self._welcome:
            await self._say(Bye(id=_fresh("bye"), sent_at=self._clock(), reason=reason))

    async def send(self) -> None:
        """Say what is due, until cancelled."""
        while True:
            self._wake.clear()
            now = self._now()
            self._notice_silence(now)
            await self._send_due(now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._next_due()):
                    await self._wake.wait()

    async def receive(self) -> None:
        """Take in what the agent says, until cancelled."""
        while True:
            frames = await self._socket.recv_multipart()
            try:
                message = codec.decode(frames).message
            except ProtocolError as error:
                self._listener.tell("bad_message", f"the agent sent something unreadable: {error}", logging.WARNING)
                await self._refuse(codec.message_id(frames), error.code, error.reason)
                continue
            self._heard_at = self._now()
            self._silence_told_s = self._timings.silence_s
            await self._take(message)

    async def watch(self) -> None:
        """Notice connections made and lost, until cancelled."""
        while True:
            event = (await recv_monitor_message(self._monitor))["event"]
            if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self._listener.tell(
                    "not_authorised",
                    f"the agent at {self._address} does not accept this instrument's key; add it to the agent's allowed keys",
                    logging.ERROR,
                )
                continue
            if event & _FAILED:
                self._tell_of_keys()
                continue
            self._connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            self._listener.tell(
                "connected" if self._connected else "disconnected",
                f"{'connected to' if self._connected else 'lost the connection to'} the agent at {self._address}",
            )
            self._new_hello()

    def _tell_of_keys(self) -> None:
        """Say once what is wrong; zmq goes on trying, and everything that it tries fails in the same way."""
        if self._refusals_told:
            return
        self._refusals_told = True
        why = "its key is not the one that was given, or it wants none" if self._keys else "it wants keys, and none were given"
        self._listener.tell(
            "not_understood", f"the agent at {self._address} cannot be talked to: {why}; see --key and --agent-key", logging.ERROR
        )

    def _connect(self) -> None:
        if self._keys is not None:
            self._socket.curve_publickey, self._socket.curve_secretkey = self._keys.own.public, self._keys.own.secret
            self._socket.curve_serverkey = self._keys.agent
        self._socket.setsockopt(zmq.ROUTING_ID, self._make_hello(self._hello_id).instrument_id.encode())
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing piles up for an agent that is not there
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 5000)
        self._socket.setsockopt(zmq.MAXMSGSIZE, codec.MAX_ARRAY_BYTES)
        # a pulled cable is noticed and the connection made anew
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, max(1, int(1000 * self._timings.heartbeat_s)))
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, max(1, int(1000 * self._timings.silence_s)))
        try:
            self._socket.connect(self._address)
        except zmq.ZMQError as error:
            raise ValueError(f"cannot connect to '{self._address}': {error}; an address looks like tcp://host:5555") from error

    def _new_hello(self) -> None:
        self._welcome = False
        self._resend_id, self._resend_at = "", 0.0
        for shown in (self._lines, self._status):
            shown.reset()
        self._hello_id = _fresh("hello")
        self._hello = Pending(codec.encode(codec.Packet(self._make_hello(self._hello_id))), self._timings.repeat_s)
        self._wake.set()

    async def _take(self, message: AnyMessage) -> None:
        match message:
            case Welcome():
                await self._take_welcome(message)
            case Ack() | Refused():
                self._take_answer(message)
            case RecommendationMessage():
                await self._acknowledge(message.id, self._listener.recommended(message))
                await self._ask_for(message.seq)
            case CommandMessage():
                await self._acknowledge(message.id, await self._listener.commanded(message))
                await self._ask_for(message.seq)
            case SnapshotMessage():
                if message.of == self._resend_id:
                    await self._listener.situated(message.snapshot)
            case Resend():
                self._outbox.hurry()
                self._beat_due = 0.0  # says how many there are, also when there are none
                self._wake.set()
            case Heartbeat():
                await self._ask_for(message.seq)
            case _:
                await self._refuse(
                    message.id,
                    "unexpected_type",
                    f"an instrument takes no '{message.type}' message; agent and instrument mixed up?",
                )

    async def _acknowledge(self, of: str, known: bool | None) -> None:
        """Say that a message is on disk; None: it was not taken, and will come again."""
        if known is not None:
            await self._say(Ack(id=message_id("ack", of), sent_at=self._clock(), of=of, duplicate=known))

    async def _ask_for(self, seq: int) -> None:
        """Ask the agent to say again what is missing before and at number `seq`, if anything is; now and then only."""
        now = self._now()
        if not self._welcome or seq <= self._listener.seq or now < self._resend_at:
            return
        self._resend_id, self._resend_at = _fresh("resend"), now + self._timings.repeat_s
        self._listener.tell(
            "gap",
            f"the agent is at number {seq}, the last that came in order is {self._listener.seq}; asking for what is between",
        )
        await self._say(Resend(id=self._resend_id, sent_at=self._clock(), after=self._listener.seq))

    async def _take_welcome(self, message: Welcome) -> None:
        if message.of != self._hello_id or self._welcome:
            return
        self._welcome = True
        self._outbox.hurry()
        await self._listener.welcomed(message)
        self._wake.set()

    def _take_answer(self, answer: Ack | Refused) -> None:
        if isinstance(answer, Refused):
            if answer.of == self._hello_id:
                raise ProtocolError(answer.code, f"the agent at {self._address} refused this instrument: {answer.reason}")
            if answer.code == HELLO_FIRST:
                self._new_hello()
                return
            for shown in (self._lines, self._status):
                if shown.refuses(answer.of):  # an agent that does not want them; scans and results are what counts
                    self._listener.tell(
                        f"{shown.name}_unwanted", f"the agent does not take '{shown.name}': {answer.reason}", logging.DEBUG
                    )
                    return
        pending = self._outbox.take(answer.of or "")
        if pending is not None:
            self._listener.answered(answer.of or "", answer, pending.attempts)
        elif isinstance(answer, Refused):
            self._listener.tell(
                "refused", f"the agent refused {answer.of or 'a message'}: {answer.reason}", logging.WARNING, code=answer.code
            )

    def _notice_silence(self, now: float) -> None:
        silent_s = now - self._heard_at
        if silent_s < self._silence_told_s:
            return
        self._silence_told_s *= 2  # a night of silence is not a thousand lines
        advice = (
            "is another client running with this instrument's name?" if self._connected else "start it, or correct the address"
        )
        self._listener.tell(
            "agent_silent",
            f"no word from the agent at {self._address} for {silent_s:.0f} s; trying again without end; {advice}",
            logging.WARNING,
            silent_s=silent_s,
        )
        if self._welcome:
            self._new_hello()

    async def _send_due(self, now: float) -> None:
        if not self._connected:
            return
        for pending in [self._hello] if not self._welcome else self._outbox:
            if pending.due > now:
                continue
            if await self._send(pending.frames):
                pending.sent(now, self._timings.repeat_max_s)
            else:
                pending.due = now + _FULL_PAUSE_S
        if self._welcome:
            await self._send_small(now)

    async def _send_small(self, now: float) -> None:
        """What is said once: for whoever watches, and that this end lives."""
        for shown in (self._lines, self._status):
            frames = shown.next(now)
            if frames is not None:
                await self._send(frames)
        if self._beat_due <= now:
            self._beat_due = now + self._timings.heartbeat_s
            await self._say(Heartbeat(id=_fresh("heartbeat"), sent_at=self._clock(), unanswered=len(self._outbox)))

    def _next_due(self) -> float:
        silence = self._heard_at + self._silence_told_s
        if not self._connected:
            return silence
        if not self._welcome:
            return min(silence, self._hello.due)
        shown = [s.due for s in (self._lines, self._status) if s.due is not None]
        return min([silence, self._beat_due, *shown, *(p.due for p in self._outbox)])

    async def _refuse(self, of: str | None, code: str, reason: str) -> None:
        await self._say(Refused(id=_fresh("refused"), sent_at=self._clock(), of=of, code=code, reason=reason))

    async def _say(self, message: AnyMessage) -> None:
        """Send a message that is not repeated: whoever misses it will ask again, or need it no more."""
        await self._send(codec.encode(codec.Packet(message)))

    async def _send(self, frames: Sequence[bytes]) -> bool:
        try:
            await self._socket.send_multipart(list(frames), flags=zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True


def message_id(prefix: str, of: str) -> str:
    """The id that a message about `of` always has, so that a repetition in another process is known as one."""
    whole = f"{prefix}-{of}"
    return whole if len(whole) <= 96 else f"{prefix}-{uuid.uuid5(uuid.NAMESPACE_OID, of).hex}"


def _fresh(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex}"
