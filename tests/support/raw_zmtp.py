"""A TCP client that speaks ZMTP by hand, to send what libzmq would not: messages that never end."""

import socket
import struct


class RawClient:
    """A connection without keys that has completed its handshake as a DEALER."""

    def __init__(self, address: str, name: str) -> None:
        host, port = address.removeprefix("tcp://").rsplit(":", 1)
        self.tcp = socket.create_connection((host, int(port)), timeout=30)
        self.tcp.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
        ready = b"\x05READY" + _property(b"Socket-Type", b"DEALER") + _property(b"Identity", name.encode())
        self.tcp.sendall(bytes([4, len(ready)]) + ready)
        self._receive(64)  # the greeting of the other side
        self._receive(self._receive(2)[1])  # its READY: what is sent before breaks the handshake

    def _receive(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            part = self.tcp.recv(size - len(found))
            assert part, "the connection was closed in the handshake"
            found += part
        return found

    def send(self, part: bytes, *, more: bool = False) -> None:
        self.tcp.sendall(bytes([2 + more]) + struct.pack(">Q", len(part)) + part)

    def send_empty_parts(self, number: int) -> None:
        """Empty parts, after which the message goes on."""
        self.tcp.sendall(b"\x01\x00" * number)

    def wait_until_shut(self) -> None:
        """Return when the other side has closed the connection; raises TimeoutError if it does not within 30 s."""
        try:
            while self.tcp.recv(65536):
                pass
        except ConnectionError:
            pass

    def close(self) -> None:
        self.tcp.close()


def _property(name: bytes, value: bytes) -> bytes:
    return bytes([len(name)]) + name + struct.pack(">I", len(value)) + value
