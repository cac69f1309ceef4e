"""A proxy on loopback between a client and its agent that fails on demand and otherwise passes everything on unchanged.

The client connects to `FaultyConnection.address`; the agent sees an ordinary client. The proxy works on the bytes of the TCP
connection rather than with ZeroMQ sockets, which would repair the damage: half a message stays half a message. It reads only type
and id of a message. It can separate messages only if the connection is not encrypted.
"""

import contextlib
import socket
import threading
import time
from types import TracebackType

from simulators.faults.message_faults import MessageFault, MessageFaultQueue
from simulators.faults.zmtp import Splitter, Unit

_CHUNK = 1 << 16
_CONNECT_S = 2.0
_LOOK_S = 0.1  # how often the listener checks for the end; closing a socket does not wake a waiting thread on every system


class FaultyConnection:
    """Context manager that runs a proxy between one client and an agent.

    Parameters
    ----------
    agent
        Address of the agent, such as "tcp://127.0.0.1:5555".

    Attributes
    ----------
    address
        Address to which the client connects.

    Raises
    ------
    OSError
        If no local port is available.
    """

    def __init__(self, agent: str) -> None:
        host, _, port = agent.removeprefix("tcp://").rpartition(":")
        self._agent = (host, int(port))
        self._faults = MessageFaultQueue()
        self._down_until = 0.0
        self._closed = threading.Event()
        self._connections: list[_Connection] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_LOOK_S)
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, name="faulty-connection", daemon=True)

    def __enter__(self) -> "FaultyConnection":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed.set()
        self._thread.join()
        self._listener.close()
        for connection in self._connections:
            connection.close()

    def arm(self, fault: MessageFault) -> None:
        """Arm a fault for the next new message of its type."""
        self._faults.arm(fault)

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
        except OSError:  # a client that is refused tries again
            client.close()
            return
        for end in (client, agent):
            end.settimeout(None)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections.append(_Connection(client, agent, self))

    def deliver(self, unit: Unit, direction: str, target: socket.socket) -> bool:
        """Pass a unit on, or apply an armed fault to it; False if the connection is to be broken.

        Called by the threads of the connections.
        """
        fault = self._faults.due(unit.frames, unit.raw, direction) if unit.frames else None
        if fault is not None and fault.action == "cut":
            self._down_until = time.monotonic() + fault.down_s
            target.sendall(unit.raw[: max(1, int(fault.share * len(unit.raw)))])
            return False
        if fault is not None and fault.action == "delay":
            self._closed.wait(fault.delay_s)
        if fault is None or fault.action == "delay":
            target.sendall(unit.raw)
        if unit.frames:
            for copy in self._faults.copies(direction):
                target.sendall(copy)
        return True


class _Connection:
    """Two sockets and the two threads that copy bytes between them."""

    def __init__(self, client: socket.socket, agent: socket.socket, link: FaultyConnection) -> None:
        self._sockets = (client, agent)
        self._link = link
        ways = (("up", client, agent), ("down", agent, client))
        self._threads = [
            threading.Thread(target=self._carry, args=way, name=f"faulty-connection-{way[0]}", daemon=True) for way in ways
        ]
        for thread in self._threads:
            thread.start()

    def ended(self) -> bool:
        """Whether both directions are closed; if so, the sockets are released."""
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
        with contextlib.suppress(OSError):  # one end has disconnected
            while data := source.recv(_CHUNK):
                if not all(self._link.deliver(unit, direction, target) for unit in splitter.feed(data)):
                    break
        self._break()

    def _break(self) -> None:
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
