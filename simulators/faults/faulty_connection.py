"""A connection that fails on demand: it stands between a client and its agent, on loopback, and passes everything on unread.

The client connects to `FaultyLink.address`, the agent sees an ordinary client. It works on the bytes of the TCP connection and
not with sockets of ZeroMQ, which would mend what is to be broken here: half a message is half a message. Of a message only type
and id are looked at. A message can be told from the next as long as the two use no encryption.
"""

import contextlib
import socket
import threading
import time
from types import TracebackType

from simulators.faults.message_faults import Tampering, Trick
from simulators.faults.zmtp import Splitter, Unit

_CHUNK = 1 << 16
_CONNECT_S = 2.0
_LOOK_S = 0.1  # how often the end is looked for; closing a socket does not wake who waits for it everywhere


class FaultyLink:
    """Between one client and the agent at `agent`; used in `with`.

    Parameters
    ----------
    agent
        Where the agent listens, such as "tcp://127.0.0.1:5555".

    Attributes
    ----------
    address
        Where the client is to connect.

    Raises
    ------
    OSError
        If no port of this computer can be listened at.
    """

    def __init__(self, agent: str) -> None:
        host, _, port = agent.removeprefix("tcp://").rpartition(":")
        self._agent = (host, int(port))
        self._tampering = Tampering()
        self._down_until = 0.0
        self._closed = threading.Event()
        self._connections: list[_Connection] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_LOOK_S)
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, name="faulty-link", daemon=True)

    def __enter__(self) -> "FaultyLink":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed.set()
        self._thread.join()
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def arm(self, trick: Trick) -> None:
        """Let a trick wait for the next new message of its type."""
        self._tampering.arm(trick)

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except TimeoutError:
                continue
            self._connections = [c for c in self._connections if not c.ended()]
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        try:
            if time.monotonic() < self._down_until:
                raise ConnectionRefusedError
            agent = socket.create_connection(self._agent, _CONNECT_S)
        except OSError:  # whoever is refused tries again by itself
            client.close()
            return
        for end in (client, agent):
            end.settimeout(None)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.append(_Connection(client, agent, self))

    def deliver(self, unit: Unit, direction: str, target: socket.socket) -> bool:
        """Pass a unit on, or do to it what has been armed; False if the connection is to be broken.

        Called by the threads of the connections.
        """
        trick = self._tampering.due(unit.frames, unit.raw, direction) if unit.frames else None
        if trick is not None and trick.action == "cut":
            self._down_until = time.monotonic() + trick.down_s
            target.sendall(unit.raw[: max(1, int(trick.share * len(unit.raw)))])
            return False
        if trick is not None and trick.action == "delay":
            self._closed.wait(trick.delay_s)
        if trick is None or trick.action == "delay":
            target.sendall(unit.raw)
        if unit.frames:
            for copy in self._tampering.copies(direction):
                target.sendall(copy)
        return True


class _Connection:
    """Two sockets and the two threads that carry bytes between them."""

    def __init__(self, client: socket.socket, agent: socket.socket, link: FaultyLink) -> None:
        self._sockets = (client, agent)
        self._link = link
        ways = (("up", client, agent), ("down", agent, client))
        self._threads = [
            threading.Thread(target=self._carry, args=way, name=f"faulty-link-{way[0]}", daemon=True) for way in ways
        ]
        for thread in self._threads:
            thread.start()

    def ended(self) -> bool:
        """True once both directions are closed; the sockets are then let go."""
        if any(thread.is_alive() for thread in self._threads):
            return False
        self.close()
        return True

    def close(self) -> None:
        """Break the connection and wait for its threads."""
        self._break()
        for thread in self._threads:
            thread.join()
        for end in self._sockets:
            end.close()

    def _carry(self, direction: str, source: socket.socket, target: socket.socket) -> None:
        splitter = Splitter()
        with contextlib.suppress(OSError):  # either end has gone away
            while data := source.recv(_CHUNK):
                if not all(self._link.deliver(unit, direction, target) for unit in splitter.feed(data)):
                    break
        self._break()

    def _break(self) -> None:
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
