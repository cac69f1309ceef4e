"""HTTP server of the service: a socket on loopback, a new token at each start, and uvicorn in the service's event loop."""

import asyncio
import contextlib
import ipaddress
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI

from agent.errors import ServiceError, StorageError
from agent.history.run_directory import TOKEN_FILE
from agent.history.storage_errors import describe_error
from agent.monitoring.health import HealthChecks
from agent.monitoring.meters import Meters
from agent.safety.control import Control
from agent.web.api import Backend, create_app
from agent.web.connections import MAX_CONNECTIONS, TimedConnection
from agent.web.event_stream import Feed
from agent.web.history_reader import HistoryReader
from instrument_adapters.errors import plain_reason
from instrument_adapters.new_file import open_new

_SHUTDOWN_TIMEOUT_S = 1
_MAX_PORT = 65535
_LOG = structlog.get_logger("vaestar.web")


class _Server(uvicorn.Server):
    """uvicorn without signal handlers, which belong to the service."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        """Install no handlers."""
        return contextlib.nullcontext()


class WebServer:
    """HTTP server that binds its address when created and answers within `serving`.

    Parameters
    ----------
    address
        HOST:PORT on loopback; port 0 picks a free port.
    run_directory
        Run directory, where the token is written and whose history is served.

    Raises
    ------
    ServiceError
        If the address is not on loopback or cannot be bound.
    """

    def __init__(self, address: str, run_directory: Path) -> None:
        self._socket = _listening_socket(address)
        host, port = self._socket.getsockname()[:2]
        self.address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._directory = run_directory
        self._token = secrets.token_urlsafe(32)
        self._feed: Feed | None = None

    def wake(self) -> None:
        """Wake the event streams after an event was recorded. Call it in the thread of the event loop."""
        if self._feed is not None:
            self._feed.wake()

    @contextlib.contextmanager
    def open(self) -> Iterator["WebServer"]:
        """Hold the token file in the run directory while the context is open, then close the socket."""
        try:
            with _token_file(self._directory / TOKEN_FILE, self._token):
                yield self
        finally:
            self._socket.close()

    @contextlib.asynccontextmanager
    async def serving(self, control: Control, health: HealthChecks, meters: Meters) -> AsyncIterator[FastAPI]:
        """Serve the application until the context is left; further routes may be added to it."""
        reader = HistoryReader(self._directory)
        self._feed = Feed(reader)
        app = create_app(Backend(control, reader, self._feed, health, meters), self._token)
        server = _Server(_settings(app))
        task = asyncio.create_task(server.serve(sockets=[self._socket]))
        try:
            yield app
        finally:
            self._feed.end()
            server.should_exit = True
            (result,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(result, BaseException):
                _LOG.warning("the HTTP server did not shut down cleanly", why=str(result))
            await reader.close()


def _settings(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        http=TimedConnection,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_SHUTDOWN_TIMEOUT_S,
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name such as 127.example.org may mean any computer
        return False


def _listening_socket(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if host == "localhost":
        host = "127.0.0.1"
    if not port.isdecimal() or int(port) > _MAX_PORT:
        raise ServiceError(
            f"service.http is '{address}', which is not HOST:PORT with a port up to {_MAX_PORT}; an example is 127.0.0.1:5557"
        )
    if not _is_loopback(host):
        raise ServiceError(
            f"service.http is '{address}', which is not a loopback address; use 127.0.0.1:PORT, "
            "and connect from another computer through ssh -L"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows this option would let two programs share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, int(port)))
        sock.listen(MAX_CONNECTIONS)
    except OSError as error:
        sock.close()
        raise ServiceError(
            f"the HTTP server cannot listen on {address}: {plain_reason(error)}; is another agent running there? "
            "choose another port with --http 127.0.0.1:PORT (0 picks a free one), or disable the server with --http ''"
        ) from error
    return sock


@contextlib.contextmanager
def _token_file(path: Path, token: str) -> Iterator[None]:
    """Write the token to a file that only this user may read; on Windows the folder's rights protect it (docs/operations.md)."""
    try:
        with open_new(path, 0o600) as file:  # a file left over may have other rights
            file.write(token.encode("ascii"))
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)  # it may hold half a token
        raise StorageError(f"{path} cannot be written: {describe_error(error)}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
