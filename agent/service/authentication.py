"""Who may talk to the agent: connections are encrypted, keys are on a list, and a key speaks under its own name only.

Without keys there is no gate, and the agent listens on loopback only. A server with keys but without a list would let everybody
in, so the two come together. The list is a folder of public keys, read anew at each connection: a file put there is let in at
once; who is connected when its file is removed stays connected until then.
"""

import time
from collections.abc import Callable
from pathlib import Path

import structlog
import zmq
import zmq.asyncio
from zmq.auth.asyncio import AsyncioAuthenticator

from instrument_adapters.errors import ProtocolError
from instrument_adapters.protocol.curve_keys import KeyFileError, Pair, load_allowed

_LOG = structlog.get_logger("vaestar.agent")
_TOLD_AGAIN_S = 600.0  # a denied client tries again every few seconds, for days if need be
_REMEMBERED = 256

Denied = Callable[[str, str, str], None]
"""Called with the address, the first characters of the key and the reason."""


class Authenticator:
    """The list of allowed keys, asked by zmq at each connection.

    Parameters
    ----------
    own
        The agent's own pair.
    allowed
        Folder of the public keys of those who may connect, each named after its instrument.
    on_denied
        Told of who was turned away, each once in ten minutes.

    Raises
    ------
    KeyFileError
        If the folder cannot be used.
    """

    def __init__(self, own: Pair, allowed: Path, on_denied: Denied) -> None:
        self._own, self._allowed, self._on_denied = own, allowed, on_denied
        self._names = load_allowed(allowed)
        self._told: dict[tuple[str, str], float] = {}

    def open(self, context: zmq.asyncio.Context) -> "_Authenticator":
        """Begin to answer zmq's questions, in the running event loop; close what is returned."""
        authenticator = _Authenticator(context, self)
        authenticator.start()
        return authenticator

    def guard(self, socket: zmq.asyncio.Socket) -> None:
        """Let only those on the list connect to a socket that is not bound yet."""
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = self._own.public, self._own.secret

    def admit(self, address: str, key: bytes) -> bool:
        """Whether a client with this public key may connect."""
        try:
            self._names = load_allowed(self._allowed)
        except KeyFileError as error:  # a file half copied must not shut everybody out
            _LOG.warning("the allowed keys cannot be read anew; the last list stands", why=str(error))
        if key in self._names:
            return True
        self._deny(address, key.decode("ascii", "replace")[:8])
        return False

    def check_name(self, key: str, instrument_id: str) -> None:
        """Do nothing, if the owner of a public key may speak as this instrument.

        Raises
        ------
        ProtocolError
            If it may not.
        """
        name = self._names.get(key.encode())
        if name != instrument_id:
            owner = f"the key of '{name}'" if name else "this key"
            reason = f"{owner} may not speak as '{instrument_id}'; connect under the name of the key"
            raise ProtocolError("wrong_identity", reason)

    def _deny(self, address: str, key: str) -> None:
        now = time.monotonic()
        if now - self._told.get((address, key), -_TOLD_AGAIN_S) < _TOLD_AGAIN_S:
            return
        if len(self._told) >= _REMEMBERED:
            self._told.clear()
        self._told[address, key] = now
        self._on_denied(address, key, f"its key is not among those in {self._allowed}")


class _Authenticator(AsyncioAuthenticator):
    """zmq's own, with our list; nothing that a client sends may end it, since without it nobody could connect any more."""

    def __init__(self, context: zmq.asyncio.Context, gate: Authenticator) -> None:
        super().__init__(context)
        self._gate, self._address = gate, ""
        self.configure_curve_callback(domain="*", credentials_provider=self)

    async def handle_zap_message(self, msg: list[bytes]) -> None:
        self._address = msg[3].decode("ascii", "replace") if len(msg) > 3 else ""
        try:
            await super().handle_zap_message(msg)
        except Exception:  # noqa: BLE001 - see above
            _LOG.exception("a connection could not be checked, and is refused")

    def callback(self, _domain: str, key: bytes) -> bool:
        """Asked by zmq."""
        return self._gate.admit(self._address, key)

    def close(self) -> None:
        """Answer no more."""
        self.stop()
