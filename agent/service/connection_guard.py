"""Caps on the connections of the ZeroMQ sockets: how many there are, and how many of their bytes wait in memory.

libzmq accepts any number of connections. Of each it takes in a message of any number of parts before the agent sees the first
one, and its own limit (`ZMQ_MAXMSGSIZE`) is for one part. So a thread listens to the events of the sockets, asks the system how
many bytes each connection has received, and subtracts those of the messages that the agent has read: the rest lies in memory.
What exceeds a cap is shut down from outside, whereupon libzmq frees what it held. A client that was shut down by mistake connects
again and repeats what was not answered.

The numbers of bytes come from Linux (`TCP_INFO`); elsewhere, and for `ipc://`, only the connections are counted.
"""

import contextlib
import itertools
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import structlog
import zmq
from zmq.utils.monitor import recv_monitor_message

from agent.monitoring.process_memory import resident_bytes
from instrument_adapters.protocol.codec import MAX_ARRAY_BYTES, MAX_HEADER_BYTES

_MIB = 1 << 20
MESSAGE_BYTES_MAX = MAX_ARRAY_BYTES + MAX_HEADER_BYTES
CONNECTION_BYTES_MAX = MESSAGE_BYTES_MAX + 256 * _MIB  # one message, and what comes after it before it has been read
TOTAL_BYTES_MAX = 2 * MESSAGE_BYTES_MAX
UNHEARD_BYTES_MAX = _MIB  # of a connection from which no message has been read; its first one is a small hello
SUBSCRIBER_BYTES_MAX = _MIB  # of a connection to a socket that only sends
CONNECTIONS_MAX = 256
SUBSCRIBERS_MAX = 64
DESCRIPTORS_RESERVED = 256  # for disk, database, HTTP and worker processes
QUIET_S = 10.0  # an instrument sends a heartbeat every 3 s
_GROWTH_MAX = 256 * _MIB  # of this process while messages come in, beyond twice their bytes: millions of tiny parts
_SMALL = _MIB
_SLOW_S = 60.0
_POLL_S = 0.02
_EARLY_S = 1.0
_EARLY_MAX = 1024
_FRAME_OVERHEAD = 42  # of ZMTP and CurveZMQ, at most
_BYTES_RECEIVED = struct.Struct("=Q"), 128  # `tcpi_bytes_received` in Linux' struct tcp_info
_LOG_INTERVAL_S = 60.0
_WATCHED = zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_MONITOR_STOPPED
_LOG = structlog.get_logger("vaestar.agent")
_names = itertools.count()


@dataclass(eq=False)
class _Connection:
    """One connection of one socket, by the file descriptor that libzmq uses."""

    tcp: socket.socket
    peer: object  # its address, by which a descriptor is recognised that has been closed and used again
    since_s: float
    spoke: bool = False  # whether a message of it has been read
    heard_s: float | None = None  # when a message of it was last read, if it came under a name that has said hello
    received: int = 0
    read: int = 0
    waiting_since_s: float = 0.0

    @property
    def waiting(self) -> int:
        """Bytes that have been received and not been read."""
        return max(0, self.received - self.read)

    def note(self, now_s: float, size: int, *, known: bool) -> None:
        """Note that a message was read."""
        self.read += size
        self.spoke, self.waiting_since_s = True, now_s
        if known:
            self.heard_s = now_s


@dataclass(eq=False)
class _Door:
    """One listening socket with its caps."""

    listening: zmq.Socket
    monitor: zmq.Socket
    connections_max: int
    bytes_max: int
    unheard_bytes_max: int
    connections: dict[int, _Connection] = field(default_factory=dict)


class ConnectionGuard:
    """Watches the connections of listening sockets in a thread of its own.

    Parameters
    ----------
    context
        Context of the sockets.
    connections_max
        Largest number of connections of instruments.
    bytes_max
        Largest number of bytes of one connection that wait in memory.
    total_bytes_max
        Largest number of bytes of all connections that wait in memory.
    """

    def __init__(
        self,
        context: zmq.Context,
        connections_max: int = CONNECTIONS_MAX,
        bytes_max: int = CONNECTION_BYTES_MAX,
        total_bytes_max: int = TOTAL_BYTES_MAX,
    ) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.shadow(context.underlying)
        self._connections_max, self._bytes_max, self._total_bytes_max = connections_max, bytes_max, total_bytes_max
        self._doors: list[_Door] = []
        self._lock = threading.Lock()
        self._early: dict[int, tuple[float, int, bool]] = {}  # what was read of connections that are not known yet
        self._ended = threading.Event()
        self._memory_before: int | None = None  # of this process, when large messages began to come in
        self._closed: dict[str, tuple[float, int]] = {}  # reason -> when it was last logged, and how often it was not since

    def watch(self, listening: zmq.Socket) -> None:
        """Watch a socket that is not bound yet. A socket that only sends gets small caps: what subscribers say is short."""
        address = f"inproc://connections-{next(_names)}"
        listening.monitor(address, _WATCHED)
        monitor = self._context.socket(zmq.PAIR)
        monitor.linger = 0
        monitor.rcvhwm = 0  # libzmq would wait for us while it accepts
        monitor.connect(address)
        if listening.type == zmq.ROUTER:
            door = _Door(listening, monitor, self._connections_max, self._bytes_max, UNHEARD_BYTES_MAX)
        else:
            door = _Door(listening, monitor, SUBSCRIBERS_MAX, SUBSCRIBER_BYTES_MAX, SUBSCRIBER_BYTES_MAX)
        self._doors.append(door)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Watch while the context is open; the sockets must be closed after it, in the same thread."""
        self._ended.clear()
        thread = threading.Thread(target=self._run, name="connections", daemon=True)
        thread.start()
        try:
            yield
        finally:
            for door in self._doors:
                door.listening.disable_monitor()  # while the thread reads: libzmq would wait for a reader
            self._ended.set()
            thread.join()
            self.close()

    def close(self) -> None:
        """Stop watching; idempotent. Sockets that are still open must belong to this thread."""
        while self._doors:
            door = self._doors.pop()
            if not door.listening.closed:
                door.listening.disable_monitor()
            door.monitor.close()
            while door.connections:
                self._forget(door, next(iter(door.connections)))

    def read(self, descriptor: int, size: int, frames: int, *, known: bool) -> None:
        """Note that a message was read.

        Parameters
        ----------
        descriptor
            The connection, by the descriptor that libzmq uses for it (`zmq.SRCFD`).
        size, frames
            Number of bytes and of frames of the message.
        known
            Whether the name of the sender has said hello in this run; others make room first.
        """
        with self._lock:
            now_s = time.monotonic()
            found = [door.connections[descriptor] for door in self._doors if descriptor in door.connections]
            for connection in found:
                connection.note(now_s, size + frames * _FRAME_OVERHEAD, known=known)
            if not found and len(self._early) < _EARLY_MAX:  # the thread has not heard of the connection yet
                self._early[descriptor] = now_s, size + frames * _FRAME_OVERHEAD, known

    @property
    def connections(self) -> int:
        """Number of connections of all sockets."""
        with self._lock:
            return sum(len(door.connections) for door in self._doors)

    def _run(self) -> None:
        poller = zmq.Poller()
        for door in self._doors:
            poller.register(door.monitor, zmq.POLLIN)
        while not self._ended.is_set():
            try:
                ready = dict(poller.poll(int(1000 * _POLL_S)))
                with self._lock:
                    for door in self._doors:
                        if door.monitor in ready:
                            self._take_events(door)
                    self._check_bytes()
            except Exception:  # noqa: BLE001 - without this thread, libzmq itself waits for a reader of its events
                _LOG.exception("the connections could not be checked")
                self._ended.wait(1.0)

    def _take_events(self, door: _Door) -> None:
        while door.monitor.poll(0):
            event = recv_monitor_message(door.monitor)
            descriptor = int(event["value"])
            if event["event"] == zmq.EVENT_ACCEPTED:
                self._accepted(door, descriptor)
            else:
                self._forget(door, descriptor)

    def _accepted(self, door: _Door, descriptor: int) -> None:
        self._forget(door, descriptor)
        try:
            tcp = socket.socket(fileno=descriptor)
        except OSError:  # closed again meanwhile
            return
        try:
            peer = tcp.getpeername()
        except OSError:
            tcp.detach()
            return
        now_s = time.monotonic()
        others = dict(door.connections)
        connection = door.connections[descriptor] = _Connection(tcp, peer, now_s, waiting_since_s=now_s)
        read_s, size, known = self._early.pop(descriptor, (0.0, 0, False))
        if now_s - read_s < _EARLY_S:
            connection.note(read_s, size, known=known)
        if len(others) >= door.connections_max:
            self._shut(door, _least_useful(others, now_s, otherwise=descriptor), f"more than {door.connections_max} connections")

    def _check_bytes(self) -> None:
        now_s = time.monotonic()
        self._early = {number: early for number, early in self._early.items() if now_s - early[0] < _EARLY_S}
        for door in self._doors:
            for descriptor, connection in list(door.connections.items()):
                received = _bytes_received(connection)
                if received is None:
                    continue
                connection.received = received
                if connection.read >= received:  # the overhead of frames is an upper bound
                    connection.read, connection.waiting_since_s = received, now_s
                most = door.bytes_max if connection.spoke else door.unheard_bytes_max
                if connection.waiting > most:
                    self._shut(door, descriptor, f"a message of more than {most // _MIB} MiB")
        self._check_sum(now_s)

    def _check_sum(self, now_s: float) -> None:
        found = [(door, number, c) for door in self._doors for number, c in door.connections.items() if c.waiting > _SMALL]
        total = sum(connection.waiting for _, _, connection in found)
        if not found:
            self._memory_before = None
            return
        memory = resident_bytes()
        self._memory_before = memory if self._memory_before is None else self._memory_before
        grown = memory - self._memory_before
        # Slow ones first, so that none can hold its place by sending hardly anything; then the one that began last.
        found.sort(key=lambda f: (now_s - f[2].waiting_since_s < _SLOW_S, -f[2].waiting_since_s))
        while found and total > self._total_bytes_max:
            door, descriptor, connection = found.pop(0)
            total -= connection.waiting
            self._shut(door, descriptor, f"more than {self._total_bytes_max // _MIB} MiB waiting in all")
        if found and sys.platform == "linux" and grown > 2 * total + _GROWTH_MAX:
            door, descriptor, connection = max(found, key=lambda f: f[2].waiting)
            self._memory_before = None
            self._shut(door, descriptor, "a message of too many parts")

    def _shut(self, door: _Door, descriptor: int, why: str) -> None:
        connection = door.connections.get(descriptor)
        if connection is None:
            return
        with contextlib.suppress(OSError):
            if connection.tcp.getpeername() == connection.peer:
                connection.tcp.shutdown(socket.SHUT_RDWR)
        self._forget(door, descriptor)
        logged_s, count = self._closed.get(why, (-_LOG_INTERVAL_S, 0))
        if time.monotonic() - logged_s >= _LOG_INTERVAL_S:
            _LOG.warning("connection closed", why=why, peer=str(connection.peer), closed_before=count)
            self._closed[why] = (time.monotonic(), 0)
        else:
            self._closed[why] = (logged_s, count + 1)

    @staticmethod
    def _forget(door: _Door, descriptor: int) -> None:
        connection = door.connections.pop(descriptor, None)
        if connection is not None:
            connection.tcp.detach()  # libzmq closes the descriptor


def allowed_connections() -> int:
    """Largest number of instruments' connections, after raising this process's limit of open files as far as it may.

    A reserve of descriptors is left for disk and database, which are opened at any time.
    """
    if sys.platform == "win32":
        return CONNECTIONS_MAX
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    if soft == resource.RLIM_INFINITY:
        return CONNECTIONS_MAX
    return max(8, min(CONNECTIONS_MAX, (soft - DESCRIPTORS_RESERVED) // 2))


def _least_useful(connections: dict[int, _Connection], now_s: float, otherwise: int) -> int:
    """The connection that makes room: one of no known instrument, longest first, or one silent for 10 s; else the new one."""

    def silent_since(number: int) -> tuple[bool, float]:
        connection = connections[number]
        return (True, connection.heard_s) if connection.heard_s is not None else (False, connection.since_s)

    number = min(connections, key=silent_since)
    heard_s = connections[number].heard_s
    return number if heard_s is None or now_s - heard_s > QUIET_S else otherwise


def _bytes_received(connection: _Connection) -> int | None:
    if sys.platform != "linux" or connection.tcp.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    value, offset = _BYTES_RECEIVED
    try:
        info = connection.tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, offset + value.size)
    except OSError:
        return None
    return int(value.unpack_from(info, offset)[0]) if len(info) == offset + value.size else None
