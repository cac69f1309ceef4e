"""Training on a Dask cluster, which others have started and which may span computers.

A task learns that it is stopped from its own worker: once no client wants its result (it was cancelled, or the client has closed
its connection or died), the scheduler tells the worker, which marks the running task as cancelled. So there is no token to poll.
"""

import contextlib
import functools
import pickle
import socket
import sys
import threading
import urllib.parse
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import distributed
import numpy as np
from distributed.client import ClosedClientError
from threadpoolctl import threadpool_limits

from agent.errors import SearchCancelledError, WorkersError
from agent.schema.decision import versions
from agent.workers.base import ALL_SEARCHES, Workers

_CONNECT_S = 10.0
_LOST = (OSError, ValueError, ClosedClientError)  # the cluster changed under a transfer

Versions = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _SharedArray:
    index: int


class DaskWorkers(Workers):
    """The workers of a Dask scheduler.

    Parameters
    ----------
    address
        Such as "tcp://127.0.0.1:8786".
    directory
        Added to the workers' import path, for the user's own modules; it must exist under this name on their computers, too.

    Raises
    ------
    WorkersError
        If nobody answers at the address, there is no worker, or one of them would not compute what this process would.
    """

    def __init__(self, address: str, directory: Path | None = None) -> None:
        self._address, self._directory = address, directory
        self._search = 0
        self._stopped_up_to = -1
        self._lock = threading.Lock()
        self._outstanding: dict[Future[Any], distributed.Future] = {}
        self._arrays: list[np.ndarray] = []
        self._scattered: dict[int, distributed.Future] = {}
        self._versions: Versions = tuple(versions().items())
        self._client = _connected(address)
        try:
            self._refuse_unfit_workers()
        except WorkersError:
            self._client.close()
            raise

    def begin(self, interrupted: Callable[[], bool] = lambda: False) -> None:  # noqa: ARG002 - nothing runs in this thread
        """See `Workers`."""
        self._search += 1
        self._arrays.clear()
        self._scattered.clear()

    def share(self, array: np.ndarray) -> _SharedArray:
        """A handle; each worker gets the array once, with the first task that uses it."""
        self._arrays.append(array)
        return _SharedArray(len(self._arrays) - 1)

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        """See `Workers`."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # it ends when Dask says so, not when its holder gives it up
        if self._stopped_up_to >= self._search:
            future.set_exception(SearchCancelledError("the search was cancelled"))
            return future
        if self._client.status != "running":
            self.restart()
        try:
            remote = self._sent(fn, args)
        except _LOST:
            self.restart()
            try:
                remote = self._sent(fn, args)
            except _LOST as error:
                raise WorkersError(f"the Dask cluster at {self._address} takes no task: {error}") from error
        with self._lock:
            self._outstanding[future] = remote
        remote.add_done_callback(functools.partial(self._finished, future))
        if self._stopped_up_to >= self._search:  # meanwhile
            self._stop(self._stopped_up_to)
        return future

    def cancel(self) -> None:
        """Give up all tasks of the current search; callable from any thread. A running one is told so, but not waited for."""
        self._stop(self._search)

    def dismiss(self) -> None:
        """Give up all tasks for good; callable from any thread."""
        self._stop(ALL_SEARCHES)

    def restart(self) -> None:
        """A new connection, and the shared arrays sent again: a lost worker may have held the only copy."""
        self._disconnect(BrokenExecutor("the task was given up"))
        self._client = _connected(self._address)

    def trouble(self) -> str:
        """See `Workers`."""
        status = self._client.status
        return "" if status == "running" else f"the connection to the Dask scheduler at {self._address} is {status}"

    def close(self) -> None:
        """Give up what runs and leave the cluster, which lives on."""
        self.dismiss()
        self._disconnect(SearchCancelledError("the search was cancelled"))

    def _stop(self, search: int) -> None:
        with self._lock:
            self._stopped_up_to = max(self._stopped_up_to, search)
            given_up, self._outstanding = self._outstanding, {}
        if given_up:
            with contextlib.suppress(ClosedClientError):  # then the scheduler has forgotten them already
                self._client.cancel(list(given_up.values()))
        for future in given_up:
            future.set_exception(SearchCancelledError("the search was cancelled"))

    def _disconnect(self, error: Exception) -> None:
        with self._lock:
            given_up, self._outstanding = self._outstanding, {}
        self._scattered.clear()
        self._client.close()
        for future in given_up:
            future.set_exception(error)

    def _sent(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> distributed.Future:
        shared = [self._on_workers(a) for a in args if isinstance(a, _SharedArray)]
        # Dask would take equal calls for one and the same, were it not told that they are not pure.
        return self._client.submit(_run, self._versions, self._directory, pickle.dumps((fn, args)), *shared, pure=False)

    def _on_workers(self, handle: _SharedArray) -> distributed.Future:
        held = self._scattered.get(handle.index)
        if held is None or held.status != "finished":
            array = self._arrays[handle.index]
            held = self._client.scatter(array, broadcast=True, hash=False, timeout=_CONNECT_S)
            self._scattered[handle.index] = held
        return held

    def _finished(self, future: Future[Any], remote: distributed.Future) -> None:
        """Hand a task's end over to who waits for it. Called in a thread of Dask's."""
        status, result = remote.status, None
        error: BaseException | None = None
        try:
            result = remote.result()
        except distributed.KilledWorker as killed:
            error = BrokenExecutor(f"a Dask worker was lost: {killed}")
        except BaseException as raised:  # noqa: BLE001 - a future carries whatever the task raised
            # Other than by the task, it was the scheduler, the result's only holder or a shared array that was lost.
            error = raised if status == "error" else BrokenExecutor(f"the Dask cluster lost a task: {raised}")
        with self._lock:
            if self._outstanding.pop(future, None) is None:  # it was given up, which ended the future
                return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def _refuse_unfit_workers(self) -> None:
        answers = self._client.run(_unfit_here, self._versions, on_error="return")
        for worker, answer in answers.items():
            if isinstance(answer, ModuleNotFoundError):
                raise WorkersError(f"the Dask worker {worker} lacks '{answer.name}'; install vaestar[agent,dask] there, too")
            if isinstance(answer, str):
                raise WorkersError(f"the Dask worker {worker} {answer}")


def _connected(address: str) -> distributed.Client:
    advice = "start one with `dask scheduler --host 127.0.0.1`, and `dask worker ADDRESS --nthreads 1`"
    host, port = _host_and_port(address)
    try:
        # A client that fails to connect leaves its thread behind, so knock first.
        socket.create_connection((host, port), _CONNECT_S).close()
        client = distributed.Client(address, timeout=_CONNECT_S, set_as_default=False)
    except OSError as error:
        raise WorkersError(f"no Dask scheduler answers at {address} ({error}); {advice}") from error
    try:
        client.wait_for_workers(1, timeout=_CONNECT_S)
    except TimeoutError as error:
        client.close()
        raise WorkersError(f"the Dask scheduler at {address} has no worker; {advice}") from error
    return client


def _host_and_port(address: str) -> tuple[str, int]:
    with contextlib.suppress(ValueError):  # a port that is no number
        parts = urllib.parse.urlsplit(address)
        if parts.scheme in ("tcp", "tls") and parts.hostname and parts.port:
            return parts.hostname, parts.port
    raise WorkersError(f"'{address}' is no address of a Dask scheduler; one looks like tcp://127.0.0.1:8786")


@functools.cache
def _unfit(expected: Versions, threads: int) -> str | None:
    """Why a decision made in this worker would not be the client's own, if so."""
    here = versions()
    for name, version in expected:
        if here.get(name) != version:
            return f"has {name} {here.get(name)}, not {version}; install the same versions on all computers"
    if threads > 1:
        # Random generators and Pyro's parameter store are one for the whole process.
        return f"runs {threads} tasks at once in one process; start it with --nthreads 1, and --nworkers for more"
    return None


def _unfit_here(expected: Versions, dask_worker: distributed.Worker) -> str | None:
    return _unfit(expected, dask_worker.state.nthreads)


def _run(expected: Versions, directory: Path | None, call: bytes, *shared: np.ndarray) -> Any:
    """In a worker: the task, on one thread."""
    worker = distributed.get_worker()
    if reason := _unfit_here(expected, worker):  # it may have come after the search began
        raise WorkersError(f"the Dask worker {worker.address} {reason}")
    if directory is not None and str(directory) not in sys.path:
        sys.path.append(str(directory))
    fn, args = pickle.loads(call)  # noqa: S301 - Dask itself pickles: whoever may connect to a worker is trusted
    arrays = (_read_only(array) for array in shared)
    args = [next(arrays) if isinstance(a, _SharedArray) else a for a in args]
    state = worker.state.tasks[worker.get_current_task()]
    with threadpool_limits(1):
        return fn(*args, stopped=lambda: state.state == "cancelled")


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False  # the worker's other tasks see the same array
    return view
