"""Puts the page on the door of a service that is about to run, and says where it is."""

import sys
from pathlib import Path

from fastapi import FastAPI

from agent.config.model import Config
from agent.dashboard.live_state import ServiceWatch
from agent.dashboard.routes import dashboard
from agent.dashboard.views import Views
from agent.errors import ServiceError
from agent.history.run_directory import TOKEN_FILE, page_address
from agent.service.service import Service


def show(service: Service, config: Config, run_directory: Path, *, announce: bool = True) -> None:
    """Have the service's door show the page once it is open.

    Parameters
    ----------
    service
        That does not run yet.
    config, run_directory
        Its own.
    announce
        Print the address then: with the token on a terminal, without it where the line may be kept in a log.

    Raises
    ------
    ServiceError
        If the service has no door.
    """
    if not config.service.http:
        raise ServiceError("the page needs the HTTP door, and service.http is empty; set it, or leave --dashboard out")
    watch = ServiceWatch(service, config.search.deadline_s)
    service.on_publish = watch.tell

    def on_door(app: FastAPI) -> None:
        app.include_router(dashboard(Views(run_directory, watch)))
        if announce:
            _announce(service.attendance.address, run_directory)

    service.attendance.pages.append(on_door)


def _announce(http: str, run_directory: Path) -> None:
    shown = page_address(http, run_directory) if sys.stdout.isatty() else f"{http}/ (token: {run_directory / TOKEN_FILE})"
    sys.stdout.write(f"dashboard: {shown}\n")
    sys.stdout.flush()
