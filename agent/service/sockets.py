"""The agent's sockets: their addresses, who may connect, and the key of the client that sent a message."""

import re
from collections.abc import Sequence

import zmq
import zmq.asyncio

from agent.errors import ServiceError
from agent.service.authentication import Authenticator
from agent.service.connection_guard import ConnectionGuard
from instrument_adapters.protocol.codec import MAX_ARRAY_BYTES

_MAX_PORT = 65535
_HANDSHAKE_MS = 5000  # a connection that has not completed its handshake by then is closed
_SUBSCRIPTION_BYTES_MAX = 4096
# Numbers, since a name such as 127.example.org may mean any computer.
_LOOPBACK = re.compile(r"tcp://(?:127(?:\.\d{1,3}){3}|\[::1\]|localhost):.*|ipc://.*", re.DOTALL)


def endpoint(socket: zmq.asyncio.Socket) -> str:
    """Address at which a socket listens, with the actual port."""
    value = socket.getsockopt(zmq.LAST_ENDPOINT)
    return value.decode().rstrip("\0") if isinstance(value, bytes) else str(value)


def key_of(parts: Sequence[zmq.Frame]) -> str:
    """Public key of the client that sent a message; empty if it has none."""
    try:
        return str(parts[-1].get("User-Id"))
    except zmq.ZMQError:
        return ""


def _check_form(address: str) -> None:
    # ZeroMQ takes a port modulo 65536, and would listen elsewhere without a word.
    found = re.fullmatch(r"tcp://(?:\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+):(\*|\d{1,5})", address)
    if not address.startswith("ipc://") and (found is None or (found[1] != "*" and int(found[1]) > _MAX_PORT)):
        raise ServiceError(
            f"'{address}' is not an address to listen at; give tcp://HOST:PORT, such as tcp://127.0.0.1:5555, "
            f"with a port up to {_MAX_PORT} (* picks a free one)"
        )


def bind_socket(
    context: zmq.asyncio.Context, kind: int, address: str, authenticator: Authenticator | None, guard: ConnectionGuard
) -> zmq.asyncio.Socket:
    """A socket that listens at an address; without authentication, on this computer only.

    Raises
    ------
    ServiceError
        If the address has another form, is not on this computer and there are no keys, or cannot be bound.
    """
    _check_form(address)
    if authenticator is None and not _LOOPBACK.fullmatch(address):
        raise ServiceError(
            f"the address {address} is not on this computer's loopback; without keys only tcp://127.0.0.1:PORT is allowed, "
            "so make keys with `vaestar keygen` and set service.key and service.allowed"
        )
    socket = context.socket(kind)
    if authenticator is not None:
        authenticator.guard(socket)
    guard.watch(socket)
    socket.setsockopt(zmq.LINGER, 500)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_ARRAY_BYTES if kind == zmq.ROUTER else _SUBSCRIPTION_BYTES_MAX)
    if kind == zmq.ROUTER:
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)  # an instrument that restarts replaces its old connection
        # Of each connection two whole messages wait here, all others at their senders. With 1, no CURVE handshake is completed.
        socket.setsockopt(zmq.RCVHWM, 2)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.disable_monitor()
        socket.close(linger=0)
        in_use = error.errno == zmq.EADDRINUSE
        advice = "is another agent running there?" if in_use else "an address looks like tcp://127.0.0.1:5555"
        raise ServiceError(f"cannot listen on {address}: {zmq.strerror(error.errno or 0)}; {advice}") from error
    return socket
