"""`vaestar serve`: runs the service until a signal ends it."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from agent.config.model import Config, load_config
from agent.history.run_directory import new_run_directory
from agent.service.service import Service

_SWITCH_INTERVAL_S = 0.5e-3  # an answer takes the GIL a dozen times, and a computing thread may hold it each time


def serve_forever(
    run: Path | None,
    given: Mapping[str, str | None],
    *,
    channel: str | None = None,
    seed: int | None,
    config_path: Path | None,
    deadline_s: float | None = None,
    dask: str | None = None,
    dashboard: bool = False,
) -> None:
    """Run the service until SIGINT, SIGTERM or SIGHUP; `given` overrides [service] of the configuration.

    Raises
    ------
    AgentError
        If the service cannot start.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    config = load_config(config_path, channel=channel, seed=seed).with_search(deadline_s=deadline_s, dask=dask)
    full = config.with_service(**given)
    # zmq needs a selector event loop, which is not the default on Windows
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(_serve(full, run or new_run_directory(), dashboard=dashboard))


async def _serve(config: Config, run: Path, *, dashboard: bool) -> None:
    page = None
    if dashboard:
        from agent.dashboard.page import dashboard_page  # imported here: it is slow and optional

        page = dashboard_page(config, run)
    service = Service(config, run, page=page)
    service.stop_on_signals()
    await service.run()
