"""Adds the dashboard to the HTTP server of a service and prints its address."""

import sys
from pathlib import Path

from fastapi import FastAPI

from agent.config.model import Config
from agent.dashboard.live_state import LiveService
from agent.dashboard.routes import dashboard
from agent.dashboard.views import Views
from agent.errors import ServiceError
from agent.history.run_directory import TOKEN_FILE, page_address
from agent.service.service import Service


def attach_dashboard(service: Service, config: Config, run_directory: Path, *, announce: bool = True) -> None:
    """Have the service serve the dashboard once its HTTP server is up.

    Parameters
    ----------
    service
        Service that does not run yet.
    config, run_directory
        Configuration and run directory of the service.
    announce
        Whether to print the address: with the token on a terminal, without it where the line may end up in a log.

    Raises
    ------
    ServiceError
        If the service has no HTTP server.
    """
    if not config.service.http:
        raise ServiceError("the dashboard needs the HTTP server, and service.http is empty; set it, or leave out --dashboard")
    live = LiveService(service, config.search.deadline_s)
    service.on_publish = live.update

    def add_to(app: FastAPI) -> None:
        app.include_router(dashboard(Views(run_directory, live)))
        if announce:
            _print_address(service.supervision.address, run_directory)

    service.supervision.pages.append(add_to)


def _print_address(http: str, run_directory: Path) -> None:
    shown = page_address(http, run_directory) if sys.stdout.isatty() else f"{http}/ (token: {run_directory / TOKEN_FILE})"
    sys.stdout.write(f"dashboard: {shown}\n")
    sys.stdout.flush()
