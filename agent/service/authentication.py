"""Encryption and authentication of clients: each key is on a list of allowed keys and belongs to one instrument name.

Without keys there is no authentication, and the agent listens on loopback only. A server with keys but without a list would admit
everybody, so both must be configured together. The list is a folder of public keys, which is read again at each connection: a key
that is added is admitted at once, and one that is removed or cannot be read is refused; neither ends a connection that exists.
"""

import time
from collections.abc import Callable
from pathlib import Path

import structlog
import zmq
import zmq.asyncio
from zmq.auth.asyncio import AsyncioAuthenticator

from instrument_adapters.errors import ProtocolError
from instrument_adapters.protocol.curve_keys import KeyFileError, KeyPair, load_allowed, read_allowed

_LOG = structlog.get_logger("vaestar.agent")
_REPORT_INTERVAL_S = 600.0  # a denied client retries every few seconds, possibly for days
_REPORTS_MAX = 256

Denied = Callable[[str, str, str], None]
"""Called with the address, the first characters of the key and the reason."""


class Authenticator:
    """The list of allowed keys, which zmq consults at each connection.

    Parameters
    ----------
    own
        Key pair of the agent.
    allowed
        Folder of the public keys that may connect, each file named after its instrument.
    on_denied
        Called for each client that was refused, at most once in ten minutes for each client.

    Raises
    ------
    KeyFileError
        If the folder of allowed keys cannot be used.
    """

    def __init__(self, own: KeyPair, allowed: Path, on_denied: Denied) -> None:
        self._own, self._allowed, self._on_denied = own, allowed, on_denied
        self._names = load_allowed(allowed)  # and the names whose files cannot be read now, for connections that exist
        self._problems: tuple[str, ...] = ()
        self._reported_at_s: dict[tuple[str, str], float] = {}

    def open(self, context: zmq.asyncio.Context) -> "_ZapAuthenticator":
        """Start authentication in the running event loop. The caller closes the object that is returned."""
        authenticator = _ZapAuthenticator(context, self)
        authenticator.start()
        return authenticator

    def guard(self, socket: zmq.asyncio.Socket) -> None:
        """Restrict a socket that is not bound yet to the allowed keys."""
        socket.curve_server = True
        socket.curve_publickey, socket.curve_secretkey = self._own.public, self._own.secret

    def admit(self, address: str, key: bytes) -> bool:
        """Whether a client with this public key may connect."""
        try:
            names, problems = read_allowed(self._allowed)
        except KeyFileError as error:  # nobody new; instruments that are connected go on
            names, problems = {}, dict.fromkeys(self._names.values(), error)
        self._report(tuple(dict.fromkeys(str(problem) for problem in problems.values())))
        self._names = {known: name for known, name in self._names.items() if name in problems} | names
        if key in names:
            return True
        self._deny(address, key.decode("ascii", "replace")[:8])
        return False

    def _report(self, problems: tuple[str, ...]) -> None:
        """Log which keys cannot be read whenever that changes."""
        if problems != self._problems:
            for problem in problems:
                _LOG.warning("an allowed key cannot be read; new connections with it are refused", why=problem)
        self._problems = problems

    def check_name(self, key: str, instrument_id: str) -> None:
        """Check that a public key belongs to this instrument.

        Raises
        ------
        ProtocolError
            If it belongs to another instrument, or is not on the list.
        """
        name = self._names.get(key.encode())
        if name != instrument_id:
            owner = f"the key of '{name}'" if name else "this key"
            reason = f"{owner} may not speak as '{instrument_id}'; connect under the name of the key"
            raise ProtocolError("wrong_identity", reason)

    def _deny(self, address: str, key: str) -> None:
        now = time.monotonic()
        if now - self._reported_at_s.get((address, key), -_REPORT_INTERVAL_S) < _REPORT_INTERVAL_S:
            return
        if len(self._reported_at_s) >= _REPORTS_MAX:
            self._reported_at_s.clear()
        self._reported_at_s[address, key] = now
        self._on_denied(address, key, f"its public key is not in {self._allowed}, or its file cannot be read")


class _ZapAuthenticator(AsyncioAuthenticator):
    """pyzmq's authenticator with the list of allowed keys. No client message may end it, or no client could connect any more."""

    def __init__(self, context: zmq.asyncio.Context, gate: Authenticator) -> None:
        super().__init__(context)
        self._gate, self._address = gate, ""
        self.configure_curve_callback(domain="*", credentials_provider=self)

    async def handle_zap_message(self, msg: list[bytes]) -> None:
        self._address = msg[3].decode("ascii", "replace") if len(msg) > 3 else ""
        try:
            await super().handle_zap_message(msg)
        except Exception:  # noqa: BLE001 - else one client's message would keep all others out
            _LOG.exception("a connection could not be authenticated and was refused")

    def callback(self, _domain: str, key: bytes) -> bool:
        """Whether a key is allowed; called by zmq."""
        return self._gate.admit(self._address, key)

    def close(self) -> None:
        """Stop authentication."""
        self.stop()
