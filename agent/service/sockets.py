"""The agent's sockets: where they listen, who may connect, and whose key a message came over."""

from collections.abc import Sequence

import zmq
import zmq.asyncio

from agent.errors import ServiceError
from agent.service.authentication import Authenticator
from instrument_adapters.protocol.codec import MAX_ARRAY_BYTES

_LOOPBACK = ("tcp://127.", "tcp://[::1]:", "tcp://localhost:", "ipc://")


def endpoint(socket: zmq.asyncio.Socket) -> str:
    """Where a socket really listens."""
    value = socket.getsockopt(zmq.LAST_ENDPOINT)
    return value.decode().rstrip("\0") if isinstance(value, bytes) else str(value)


def key_of(parts: Sequence[zmq.Frame]) -> str:
    """Public key of the connection that a message came over."""
    try:
        return str(parts[-1].get("User-Id"))
    except zmq.ZMQError:
        return ""


def bound(context: zmq.asyncio.Context, kind: int, address: str, gate: Authenticator | None) -> zmq.asyncio.Socket:
    """A socket that listens; without a gate, on this computer only.

    Raises
    ------
    ServiceError
        If it may not, or cannot.
    """
    if gate is None and not address.startswith(_LOOPBACK):
        raise ServiceError(
            f"the address {address} is not on this computer's loopback; without keys only tcp://127.0.0.1:PORT is allowed, "
            "so make keys with `vaestar keygen` and set service.key and service.allowed"
        )
    socket = context.socket(kind)
    if gate is not None:
        gate.guard(socket)
    socket.setsockopt(zmq.LINGER, 500)
    if kind == zmq.ROUTER:
        socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        socket.setsockopt(zmq.ROUTER_HANDOVER, 1)  # an instrument that restarts takes its old connection's place
        socket.setsockopt(zmq.MAXMSGSIZE, MAX_ARRAY_BYTES)
    try:
        socket.bind(address)
    except zmq.ZMQError as error:
        socket.close(linger=0)
        in_use = error.errno == zmq.EADDRINUSE
        advice = "is another agent running there?" if in_use else "an address looks like tcp://127.0.0.1:5555"
        raise ServiceError(f"cannot listen on {address}: {zmq.strerror(error.errno or 0)}; {advice}") from error
    return socket
