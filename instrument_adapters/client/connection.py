"""The connection to the agent: hello, retransmission, heartbeats, and detection of a silent agent.

One asyncio task sends on the socket and one receives. zmq reconnects by itself; after that this module says hello again.
"""

import asyncio
import contextlib
import logging
import secrets
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

HELLO_FIRST = "hello_first"  # `Refused.code` of an agent that has not received the hello of this instrument
_FULL_PAUSE_S = 0.1  # before the next attempt, when the queue of zmq is full
_FAILED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
_WATCHED = zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | _FAILED


class Connection:
    """The connection to one agent; a context manager.

    `send_loop`, `receive_loop` and `monitor_loop` run as tasks of the same event loop.

    Parameters
    ----------
    address
        Address of the agent, such as "tcp://127.0.0.1:5555".
    make_hello
        Returns a new `Hello` with the given id.
    listener
        Callbacks for incoming messages.
    timings
        Pauses and time-outs.
    clock
        Wall clock, for `sent_at`.
    keys
        Keys of this instrument and of the agent; None for a connection without encryption.

    Raises
    ------
    ProtocolError
        From `receive_loop`, if the agent refuses this instrument.
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
        self._keys, self._key_mismatch_reported = keys, False
        self._address, self._make_hello, self._listener, self._timings, self._clock = (
            address,
            make_hello,
            listener,
            timings,
            clock,
        )
        self._now = asyncio.get_running_loop().time
        self._wake = asyncio.Event()
        self._unanswered = RetryQueue(timings.repeat_s)
        self._lines, self._status = LatestOnly("lines"), LatestOnly("status", timings.status_s)
        self._resend_id, self._resend_at, self._snapshot_wanted = "", 0.0, False
        self._connected = False
        self._heard_at = self._now()
        self._silence_warning_s = timings.silence_s
        self._heartbeat_due = 0.0
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
        """Close the socket; messages still queued get `stop_s` seconds to leave."""
        self._socket.disable_monitor()
        self._context.destroy(linger=int(1000 * self._timings.stop_s))

    def post(self, message_id: str, frames: Sequence[bytes]) -> None:
        """Send a message and repeat it until it is answered."""
        self._unanswered.post(message_id, frames)
        self._wake.set()

    def request_snapshot(self) -> None:
        """Ask the agent for its present state and its open messages."""
        self._snapshot_wanted = True
        self._wake.set()

    def withdraw(self, message_id: str) -> None:
        """Stop repeating a message that was answered in another form."""
        self._unanswered.pop(message_id)

    def send_lines(self, lines: Lines) -> None:
        """Send lines of the scan being recorded: best effort, and only to a connected agent that has not refused them."""
        if not (self._connected and self._welcome) or self._lines.unwanted:
            return
        try:
            self._lines.put(codec.encode(codec.lines_packet(lines, Heartbeat(id=_new_id("lines"), sent_at=self._clock()))))
        except ValueError as error:
            self._lines.unwanted = True
            self._listener.report("lines_left_out", f"lines of the scan cannot be sent: {codec.explain(error)}", logging.WARNING)
        self._wake.set()

    def send_status(self, **fields: object) -> None:
        """Send the fields of a `StatusMessage`: best effort, and only to a connected agent that has not refused them."""
        if self._connected and self._welcome:
            message = StatusMessage.model_validate({"id": _new_id("status"), "sent_at": self._clock(), **fields})
            self._status.put(codec.encode(codec.Packet(message)))
            self._wake.set()

    async def bye(self, reason: str) -> None:
        """Announce a clean shutdown to the agent."""
        if self._welcome:
            await self._send_once(Bye(id=_new_id("bye"), sent_at=self._clock(), reason=reason))

    async def send_loop(self) -> None:
        """Send every message that is due, until cancelled."""
        while True:
            self._wake.clear()
            now = self._now()
            self._check_silence(now)
            await self._send_due(now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._next_due()):
                    await self._wake.wait()

    async def receive_loop(self) -> None:
        """Receive and handle the agent's messages, until cancelled."""
        while True:
            frames = await self._socket.recv_multipart()
            try:
                message = codec.decode(frames).message
            except ProtocolError as error:
                self._listener.report("bad_message", f"the agent sent an invalid message: {error}", logging.WARNING)
                await self._refuse(codec.message_id(frames), error.code, error.reason)
                continue
            self._heard_at = self._now()
            self._silence_warning_s = self._timings.silence_s
            await self._handle(message)

    async def monitor_loop(self) -> None:
        """Follow connections made and lost, until cancelled."""
        while True:
            event = (await recv_monitor_message(self._monitor))["event"]
            if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
                self._listener.report(
                    "not_authorised",
                    f"the agent at {self._address} does not accept this instrument's key; add it to the allowed keys",
                    logging.ERROR,
                )
                continue
            if event & _FAILED:
                self._report_key_mismatch()
                continue
            self._connected = event == zmq.EVENT_HANDSHAKE_SUCCEEDED
            self._listener.report(
                "connected" if self._connected else "disconnected",
                f"{'connected to' if self._connected else 'lost the connection to'} the agent at {self._address}",
            )
            self._new_hello()

    def _report_key_mismatch(self) -> None:
        """Report the failed handshake once; zmq keeps trying, and fails in the same way each time."""
        if self._key_mismatch_reported:
            return
        self._key_mismatch_reported = True
        why = (
            "its public key differs from --agent-key, or it uses no keys"
            if self._keys
            else "it requires keys, and none were given"
        )
        self._listener.report(
            "not_understood",
            f"no encrypted connection to the agent at {self._address}: {why}; check --key and --agent-key",
            logging.ERROR,
        )

    def _connect(self) -> None:
        if self._keys is not None:
            self._socket.curve_publickey, self._socket.curve_secretkey = self._keys.own.public, self._keys.own.secret
            self._socket.curve_serverkey = self._keys.agent
        # Nobody can guess it, so no other client can take this connection over and receive what is meant for this instrument.
        routing_id = f"{self._make_hello(self._hello_id).instrument_id}/{secrets.token_hex(16)}"
        self._socket.setsockopt(zmq.ROUTING_ID, routing_id.encode())
        self._socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing is queued for an agent that is not connected
        self._socket.setsockopt(zmq.RECONNECT_IVL_MAX, 5000)
        self._socket.setsockopt(zmq.MAXMSGSIZE, codec.MAX_ARRAY_BYTES)
        # detects a pulled cable, so that zmq reconnects
        self._socket.setsockopt(zmq.HEARTBEAT_IVL, max(1, int(1000 * self._timings.heartbeat_s)))
        self._socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, max(1, int(1000 * self._timings.silence_s)))
        try:
            self._socket.connect(self._address)
        except zmq.ZMQError as error:
            raise ValueError(f"cannot connect to '{self._address}': {error}; an address looks like tcp://host:5555") from error

    def _new_hello(self) -> None:
        self._welcome = False
        self._resend_id, self._resend_at, self._snapshot_wanted = "", 0.0, False
        for channel in (self._lines, self._status):
            channel.reset()
        self._hello_id = _new_id("hello")
        self._hello = Pending(codec.encode(codec.Packet(self._make_hello(self._hello_id))), self._timings.repeat_s)
        self._wake.set()

    async def _handle(self, message: AnyMessage) -> None:
        match message:
            case Welcome():
                await self._handle_welcome(message)
            case Ack() | Refused():
                self._handle_answer(message)
            case RecommendationMessage():
                await self._acknowledge(message.id, self._listener.on_recommendation(message))
                await self._request_resend(message.seq)
            case CommandMessage():
                await self._acknowledge(message.id, await self._listener.on_command(message))
                await self._request_resend(message.seq)
            case SnapshotMessage():
                if message.of == self._resend_id:
                    await self._listener.on_snapshot(message.snapshot)
            case Resend():
                self._unanswered.retry_now()
                self._heartbeat_due = 0.0  # the next heartbeat carries their number, even if it is 0
                self._wake.set()
            case Heartbeat():
                await self._request_resend(message.seq)
            case _:
                await self._refuse(
                    message.id,
                    "unexpected_type",
                    f"an instrument does not accept '{message.type}' messages; is this message meant for the agent?",
                )

    async def _acknowledge(self, of: str, known: bool | None) -> None:
        """Acknowledge a message that is on disk; None: it was not accepted, and the agent will repeat it."""
        if known is not None:
            await self._send_once(Ack(id=message_id("ack", of), sent_at=self._clock(), of=of, duplicate=known))

    async def _request_resend(self, seq: int) -> None:
        """Ask the agent for missing messages up to number `seq`, if there are any, at most once every `repeat_s` seconds."""
        if not self._welcome or seq <= self._listener.seq or self._now() < self._resend_at:
            return
        self._listener.report(
            "gap",
            f"messages {self._listener.seq + 1} to {seq} of the agent are missing; asking for them again",
        )
        await self._send_resend()

    async def _send_resend(self) -> None:
        self._snapshot_wanted = False
        self._resend_id, self._resend_at = _new_id("resend"), self._now() + self._timings.repeat_s
        await self._send_once(Resend(id=self._resend_id, sent_at=self._clock(), after=self._listener.seq))

    async def _handle_welcome(self, message: Welcome) -> None:
        if message.of != self._hello_id or self._welcome:
            return
        self._welcome = True
        self._unanswered.retry_now()
        await self._listener.on_welcome(message)
        self._wake.set()

    def _handle_answer(self, answer: Ack | Refused) -> None:
        if isinstance(answer, Refused):
            if answer.of == self._hello_id:
                raise ProtocolError(answer.code, f"the agent at {self._address} refused this instrument: {answer.reason}")
            if answer.code == HELLO_FIRST:
                self._new_hello()
                return
            for channel in (self._lines, self._status):
                if channel.accept_refusal(answer.of):
                    self._listener.report(
                        f"{channel.name}_unwanted",
                        f"the agent does not want '{channel.name}' messages: {answer.reason}",
                        logging.DEBUG,
                    )
                    return
        pending = self._unanswered.pop(answer.of or "")
        if pending is not None:
            self._listener.on_answer(answer.of or "", answer, pending.attempts)
        elif isinstance(answer, Refused):
            self._listener.report(
                "refused", f"the agent refused {answer.of or 'a message'}: {answer.reason}", logging.WARNING, code=answer.code
            )

    def _check_silence(self, now: float) -> None:
        silent_s = now - self._heard_at
        if silent_s < self._silence_warning_s:
            return
        self._silence_warning_s *= 2  # keeps a night of silence from filling the log
        advice = (
            "check that no other client uses this instrument's name" if self._connected else "start it, or correct the address"
        )
        self._listener.report(
            "agent_silent",
            f"no message from the agent at {self._address} for {silent_s:.0f} s; still trying to connect; {advice}",
            logging.WARNING,
            silent_s=silent_s,
        )
        if self._welcome:
            self._new_hello()

    async def _send_due(self, now: float) -> None:
        if not self._connected:
            return
        for pending in [self._hello] if not self._welcome else self._unanswered:
            if pending.due > now:
                continue
            if await self._send(pending.frames):
                pending.mark_sent(now, self._timings.repeat_max_s)
            else:
                pending.due = now + _FULL_PAUSE_S
        if self._welcome:
            if self._snapshot_wanted:
                await self._send_resend()
            await self._send_best_effort(now)

    async def _send_best_effort(self, now: float) -> None:
        """Send the messages that are never repeated: lines, status and heartbeat."""
        for channel in (self._lines, self._status):
            frames = channel.pop_due(now)
            if frames is not None:
                await self._send(frames)
        if self._heartbeat_due <= now:
            self._heartbeat_due = now + self._timings.heartbeat_s
            await self._send_once(Heartbeat(id=_new_id("heartbeat"), sent_at=self._clock(), unanswered=len(self._unanswered)))

    def _next_due(self) -> float:
        silence = self._heard_at + self._silence_warning_s
        if not self._connected:
            return silence
        if not self._welcome:
            return min(silence, self._hello.due)
        best_effort = [c.due for c in (self._lines, self._status) if c.due is not None]
        return min([silence, self._heartbeat_due, *best_effort, *(p.due for p in self._unanswered)])

    async def _refuse(self, of: str | None, code: str, reason: str) -> None:
        await self._send_once(Refused(id=_new_id("refused"), sent_at=self._clock(), of=of, code=code, reason=reason))

    async def _send_once(self, message: AnyMessage) -> None:
        """Send a message that is not repeated: if it is lost, the agent asks again or does not need it."""
        await self._send(codec.encode(codec.Packet(message)))

    async def _send(self, frames: Sequence[bytes]) -> bool:
        try:
            await self._socket.send_multipart(list(frames), flags=zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True


def message_id(prefix: str, of: str) -> str:
    """Id derived from `of` alone, so that the agent recognises the message if a restarted client sends it again."""
    full_id = f"{prefix}-{of}"
    return full_id if len(full_id) <= 96 else f"{prefix}-{uuid.uuid5(uuid.NAMESPACE_OID, of).hex}"


def _new_id(prefix: str) -> str:
    return f"{prefix}-{uuid.uuid4().hex}"
