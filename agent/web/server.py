"""Opens the HTTP door: one listening socket on loopback, a token for this start, and a server in the service's own event loop."""

import asyncio
import contextlib
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI

from agent.errors import ServiceError
from agent.history.run_directory import TOKEN_FILE
from agent.monitoring.health import HealthChecks
from agent.monitoring.meters import Meters
from agent.safety.control import Control
from agent.web.api import Parts, create_app
from agent.web.event_stream import Feed
from agent.web.history_reader import HistoryReader

_MOST_AT_ONCE = 64
_FAREWELL_S = 1
_LOG = structlog.get_logger("vaestar.web")


class _Server(uvicorn.Server):
    """One that leaves the signals to the service."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        """Nothing."""
        return contextlib.nullcontext()


class WebServer:
    """Listens, from when it is made until it is closed; answers while `serving`.

    Parameters
    ----------
    address
        HOST:PORT on loopback; port 0 takes any that is free.
    run_directory
        Where the token is written, and whose history is shown.

    Raises
    ------
    ServiceError
        If it may not, or cannot, listen there.
    """

    def __init__(self, address: str, run_directory: Path) -> None:
        self._socket = _bound(address)
        host, port = self._socket.getsockname()[:2]
        self.address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        self._directory = run_directory
        self._token = secrets.token_urlsafe(32)
        self._feed: Feed | None = None

    def news(self) -> None:
        """Something has been recorded; called in the event loop's thread."""
        if self._feed is not None:
            self._feed.news()

    @contextlib.contextmanager
    def open(self) -> Iterator["WebServer"]:
        """Keep the token in the run directory, and close the socket at the end."""
        try:
            with _token_file(self._directory / TOKEN_FILE, self._token):
                yield self
        finally:
            self._socket.close()

    @contextlib.asynccontextmanager
    async def serving(self, control: Control, health: HealthChecks, meters: Meters) -> AsyncIterator[FastAPI]:
        """The application, answered for until this is left; further pages may be mounted on it."""
        reader = HistoryReader(self._directory)
        self._feed = Feed(reader)
        app = create_app(Parts(control, reader, self._feed, health, meters), self._token)
        server = _Server(_settings(app))
        task = asyncio.create_task(server.serve(sockets=[self._socket]))
        try:
            yield app
        finally:
            self._feed.end()
            server.should_exit = True
            (result,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(result, BaseException):
                _LOG.warning("the HTTP door did not close in order", why=str(result))
            await reader.close()


def _settings(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        lifespan="off",
        ws="none",
        http="h11",
        proxy_headers=False,
        server_header=False,
        limit_concurrency=_MOST_AT_ONCE,
        timeout_graceful_shutdown=_FAREWELL_S,
    )


def _bound(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if host == "localhost":
        host = "127.0.0.1"
    if not (host.startswith("127.") or host == "::1"):
        raise ServiceError(
            f"service.http is '{address}', which is not on this computer's loopback; give 127.0.0.1:PORT, "
            "and reach it from elsewhere through ssh -L"
        )
    if not port.isdecimal():
        raise ServiceError(f"service.http is '{address}', which is no address; it looks like 127.0.0.1:5557")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows it would let two programs share a port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, int(port)))
        listening.listen(_MOST_AT_ONCE)
    except (OSError, OverflowError) as error:
        listening.close()
        raise ServiceError(
            f"the HTTP door cannot listen on {address}: {error}; is another agent running there? "
            "give this one another port with --http 127.0.0.1:PORT, 127.0.0.1:0 for any, or none with --http ''"
        ) from error
    return listening


@contextlib.contextmanager
def _token_file(path: Path, token: str) -> Iterator[None]:
    """A file that only this user may read; on Windows the run directory's rights protect it (docs/operations.md)."""
    try:
        path.unlink(missing_ok=True)  # one that is left may have other rights
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor
            file.write(token)
    except OSError as error:
        raise ServiceError(f"{path} cannot be written: {error}") from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
