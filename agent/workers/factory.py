"""Creates the workers that the configuration names."""

from pathlib import Path

from agent.errors import WorkersError
from agent.workers.base import Workers
from agent.workers.inline import InlineWorkers


def workers_for(count: int, directory: Path | None = None, dask: str | None = None) -> Workers:
    """The workers of a Dask cluster if an address is given, else `count` processes, or the calling thread if `count` is 0.

    Parameters
    ----------
    count
        Number of processes.
    directory
        Path of a directory with user-defined modules, which is added to the workers' import path.
    dask
        Address of a Dask scheduler, such as "tcp://127.0.0.1:8786".

    Raises
    ------
    WorkersError
        If Dask is not installed, or no scheduler answers at the address.
    """
    if dask is not None:
        try:
            from agent.workers.dask_cluster import DaskWorkers
        except ModuleNotFoundError as error:
            raise WorkersError(
                f"training on Dask needs '{error.name}', which is not installed; install it with: pip install 'vaestar[dask]'"
            ) from error
        return DaskWorkers(dask, directory)
    if count:
        from agent.workers.processes import ProcessWorkers

        return ProcessWorkers(count, directory)
    return InlineWorkers()
