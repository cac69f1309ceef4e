"""`vaestar serve`: run directory, signals; then the service."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path

from agent.config.model import Config, load_config
from agent.history.run_directory import new_run_directory
from agent.service.service import Service

_SWITCH_S = 0.5e-3  # an answer takes the interpreter's lock a dozen times, and each time a thread that computes may hold it


def serve_forever(
    run: Path | None,
    given: Mapping[str, str | None],
    *,
    seed: int | None,
    config_path: Path | None,
    deadline_s: float | None = None,
    dask: str | None = None,
    dashboard: bool = False,
) -> None:
    """Serve until a signal ends it in order; what of [service] is given on the command line goes before the configuration.

    Raises
    ------
    AgentError
        With one sentence, if the service cannot start.
    """
    sys.setswitchinterval(_SWITCH_S)
    config = load_config(config_path, seed=seed).with_search(deadline_s=deadline_s, dask=dask)
    full = config.with_service(**given)
    # zmq needs a selector loop, which is not Windows' default
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(_serve(full, run or new_run_directory(), dashboard=dashboard))


async def _serve(config: Config, run: Path, *, dashboard: bool) -> None:
    service = Service(config, run)
    if dashboard:
        from agent.dashboard.attach import show  # here, since it takes a moment and may not be wanted

        show(service, config, run)
    service.stop_on_signals()
    await service.run()
