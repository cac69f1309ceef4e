"""HTTP server, event-loop lag monitor, health checks and systemd watchdog of the service."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from agent.monitoring.health import HealthChecks
from agent.monitoring.meters import Meters
from agent.monitoring.process_memory import release_freed_memory
from agent.monitoring.systemd import notify, watchdog_s
from agent.safety.control import Control

if TYPE_CHECKING:
    from fastapi import FastAPI

    from agent.web.server import WebServer

_LOG = structlog.get_logger("vaestar.agent")


class Page(Protocol):
    """A page that is served beside the HTTP API."""

    def add_to(self, app: "FastAPI", address: str) -> None:
        """Add the page's routes to the application that is served at `address`."""

    def update(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Take in a message that the service publishes; called in the event loop's thread."""


class Supervision:
    """HTTP server and health checks of one service.

    Parameters
    ----------
    run_directory
        Path of the run directory.
    http
        Address of the HTTP server, HOST:PORT; empty: no HTTP server.
    page
        Page that the HTTP server shows; None: no page.
    """

    def __init__(self, run_directory: Path, http: str, page: Page | None = None) -> None:
        self._http, self._directory, self._page = http, run_directory, page
        self._server: WebServer | None = None
        self.health, self.meters = HealthChecks(run_directory), Meters()
        self._problems: dict[str, str] = {}  # check -> problem found by the last check

    @property
    def address(self) -> str:
        """URL of the HTTP server; empty without one."""
        return self._server.address if self._server is not None else ""

    @contextlib.contextmanager
    def listening(self) -> Iterator["Supervision"]:
        """Bind the address of the HTTP server, so that it can be announced; requests are not answered yet.

        Raises
        ------
        ServiceError
            If the address cannot be bound.
        """
        if not self._http:
            yield self
            return
        from agent.web.server import WebServer  # imported here: takes half a second, and may not be needed

        server = WebServer(self._http, self._directory)
        with server.open():
            self._server = server
            yield self

    @contextlib.asynccontextmanager
    async def running(self, control: Control) -> AsyncIterator[None]:
        """Answer HTTP requests, monitor the event loop and notify systemd while the context is open."""
        async with contextlib.AsyncExitStack() as stack:
            if self._server is not None:
                app = await stack.enter_async_context(self._server.serving(control, self.health, self.meters))
                if self._page is not None:
                    self._page.add_to(app, self.address)
            # Only now: the imports of the HTTP server take seconds on a busy computer, and must not count as event-loop lag.
            await stack.enter_async_context(_background_task(self.health.monitor_event_loop()))
            period_s = watchdog_s()
            if period_s is not None:
                await stack.enter_async_context(_background_task(self._notify_watchdog(period_s / 2)))
            notify(f"READY=1\nSTATUS=serving {self._directory}")
            try:
                yield
            finally:
                notify("STOPPING=1")

    async def check_health(self) -> None:
        """Log each problem once, and its end; then return freed memory to the system.

        A disk that is filling up is reported while there is still time to act.
        """
        checks = (await self.health.health()).checks
        for name, wrong in checks.items():
            if wrong and not self._problems.get(name):
                _LOG.warning("not healthy", check=name, why=wrong)
            elif not wrong and self._problems.get(name):
                _LOG.info("healthy again", check=name)
        self._problems = dict(checks)
        await asyncio.to_thread(release_freed_memory)

    def wake(self, *_: object) -> None:
        """Inform the HTTP server that an event was recorded; called in the event loop's thread."""
        if self._server is not None:
            self._server.wake()

    async def _notify_watchdog(self, every_s: float) -> None:
        """Notify the systemd watchdog while the agent is healthy; otherwise systemd restarts it, and it continues its run."""
        while True:
            health = await self.health.health()
            if health.restart_helps:
                _LOG.error("not healthy; the systemd watchdog is not notified", **health.as_json()["checks"])
            else:
                notify("WATCHDOG=1")
            await asyncio.sleep(every_s)


@contextlib.asynccontextmanager
async def _background_task(job: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run a coroutine as a task while the context is open."""
    task = asyncio.create_task(job)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
