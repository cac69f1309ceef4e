"""What stands beside the service while it runs: its HTTP door, the watch over its event loop, and systemd's watchdog."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from agent.monitoring.health import HealthChecks
from agent.monitoring.meters import Meters
from agent.monitoring.process_memory import give_back
from agent.monitoring.systemd import notify, watchdog_s
from agent.safety.control import Control

if TYPE_CHECKING:
    from fastapi import FastAPI

    from agent.web.server import WebServer

_LOG = structlog.get_logger("vaestar.agent")


class Supervision:
    """Of one service.

    Parameters
    ----------
    run_directory
        Of its run.
    http
        Where its door is, HOST:PORT; empty: it has none.
    """

    def __init__(self, run_directory: Path, http: str) -> None:
        self._http, self._directory = http, run_directory
        self._door: WebServer | None = None
        self.health, self.meters = HealthChecks(run_directory), Meters()
        self._told: dict[str, str] = {}
        self.pages: list[Callable[[FastAPI], None]] = []  # what else the door shows

    @property
    def address(self) -> str:
        """Of the door, as a browser takes it; empty without one."""
        return self._door.address if self._door is not None else ""

    @contextlib.contextmanager
    def listening(self) -> Iterator["Supervision"]:
        """Take the door's address, so that it can be announced; nobody is answered yet.

        Raises
        ------
        ServiceError
            If it cannot be had.
        """
        if not self._http:
            yield self
            return
        from agent.web.server import WebServer  # here, since it takes half a second and may not be wanted

        door = WebServer(self._http, self._directory)
        with door.open():
            self._door = door
            yield self

    @contextlib.asynccontextmanager
    async def attending(self, control: Control) -> AsyncIterator[None]:
        """Answer, watch, and tell systemd, until this is left."""
        async with contextlib.AsyncExitStack() as stack:
            if self._door is not None:
                app = await stack.enter_async_context(self._door.serving(control, self.health, self.meters))
                for put_on in self.pages:
                    put_on(app)
            # Only now: what is imported for the door, seconds of it on a busy computer, is no slowness of a loop that serves.
            await stack.enter_async_context(_beside(self.health.watch_the_loop()))
            period_s = watchdog_s()
            if period_s is not None:
                await stack.enter_async_context(_beside(self._signs_of_life(period_s / 2)))
            notify(f"READY=1\nSTATUS=serving {self._directory}")
            try:
                yield
            finally:
                notify("STOPPING=1")

    async def look_after(self) -> None:
        """Say what is wrong, once, and when it is well again; then give back memory that nobody needs.

        A disk that fills is told of while there is time.
        """
        checks = (await self.health.health()).checks
        for name, wrong in checks.items():
            if wrong and not self._told.get(name):
                _LOG.warning("not healthy", check=name, why=wrong)
            elif not wrong and self._told.get(name):
                _LOG.info("healthy again", check=name)
        self._told = dict(checks)
        await asyncio.to_thread(give_back)

    def news(self, *_: object) -> None:
        """Something has been recorded; called in the event loop's thread."""
        if self._door is not None:
            self._door.news()

    async def _signs_of_life(self, every_s: float) -> None:
        """Tell systemd that all is well, for as long as it is: an agent that is not is restarted, and takes its run up."""
        while True:
            health = await self.health.health()
            if health.restart_helps:
                _LOG.error("not healthy; systemd is given no sign of life", **health.as_json()["checks"])
            else:
                notify("WATCHDOG=1")
            await asyncio.sleep(every_s)


@contextlib.asynccontextmanager
async def _beside(job: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """A task that ends when this is left."""
    task = asyncio.create_task(job)
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
