"""The dashboard as a page of the service: adds it to the HTTP server and prints its address."""

import contextlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fastapi import FastAPI

from agent.config.model import Config
from agent.dashboard.live_state import LiveService
from agent.dashboard.routes import dashboard
from agent.dashboard.views import Views
from agent.errors import ServiceError
from agent.history.run_directory import TOKEN_FILE, page_address
from agent.service.service import Service
from instrument_adapters.command_line.output import OutputError, flush_output, write_line


class DashboardPage:
    """Dashboard of one service; implements `agent.service.supervision.Page`.

    Parameters
    ----------
    service
        Service that does not run yet.
    config, run_directory
        Configuration and run directory of the service.
    announce
        Whether to print the address: with the token on a terminal, without it where the line may end up in a log.
    """

    def __init__(self, service: Service, config: Config, run_directory: Path, *, announce: bool) -> None:
        self._live = LiveService(service, config.search.deadline_s)
        self._run_directory, self._announce = run_directory, announce

    def add_to(self, app: FastAPI, address: str) -> None:
        """Add the routes of the dashboard to the application that is served at `address`."""
        app.include_router(dashboard(Views(self._run_directory, self._live)))
        if self._announce:
            _print_address(address, self._run_directory)

    def update(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Take in a message that the service publishes."""
        self._live.update(kind, facts)


def dashboard_page(config: Config, run_directory: Path, *, announce: bool = True) -> Callable[[Service], DashboardPage]:
    """The `page` argument with which a service serves the dashboard.

    Raises
    ------
    ServiceError
        If the service has no HTTP server.
    """
    if not config.service.http:
        raise ServiceError("the dashboard needs the HTTP server, and service.http is empty; set it, or leave out --dashboard")
    return lambda service: DashboardPage(service, config, run_directory, announce=announce)


def _print_address(http: str, run_directory: Path) -> None:
    shown = page_address(http, run_directory) if sys.stdout.isatty() else f"{http}/ (token: {run_directory / TOKEN_FILE})"
    with contextlib.suppress(OutputError):  # the service runs without a terminal as well
        write_line(f"dashboard: {shown}")
        flush_output()
