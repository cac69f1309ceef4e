"""The workers that a configuration names."""

from pathlib import Path

from agent.errors import WorkersError
from agent.workers.base import Workers
from agent.workers.inline import InlineWorkers


def workers_for(count: int, directory: Path | None = None, dask: str | None = None) -> Workers:
    """Workers at a Dask scheduler's address, if there is one; else `count` processes, or the calling thread if that is 0.

    Parameters
    ----------
    count
        Processes.
    directory
        Added to the workers' import path, for the user's own modules.
    dask
        Such as "tcp://127.0.0.1:8786".

    Raises
    ------
    WorkersError
        If Dask is not installed, or nobody answers at the address.
    """
    if dask is not None:
        try:
            from agent.workers.dask_cluster import DaskWorkers
        except ModuleNotFoundError as error:
            raise WorkersError(
                f"training on Dask needs '{error.name}', which is not installed; install with: pip install 'vaestar[dask]'"
            ) from error
        return DaskWorkers(dask, directory)
    if count:
        from agent.workers.processes import ProcessWorkers

        return ProcessWorkers(count, directory)
    return InlineWorkers()
