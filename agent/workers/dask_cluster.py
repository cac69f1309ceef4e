"""Workers of a Dask cluster, which is started separately and may span several computers.

A task learns from its Dask worker that it should stop. Once no client wants its result (the task was cancelled, or the client has
disconnected or died), the scheduler notifies the worker, which marks the running task as cancelled. No shared token is needed.
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
_LOST = (OSError, ValueError, ClosedClientError)  # errors when the cluster changes during a transfer

Versions = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _SharedArray:
    index: int


class DaskWorkers(Workers):
    """The workers of a Dask scheduler.

    Parameters
    ----------
    address
        Address of the scheduler, such as "tcp://127.0.0.1:8786".
    directory
        Path of a directory with user-defined modules, which is added to the workers' import path; it must exist on their
        computers under the same path.

    Raises
    ------
    WorkersError
        If no scheduler answers at the address, there is no worker, or one has other versions or several threads.
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
        self._client = _connect(address)
        try:
            self._refuse_incompatible_workers()
        except WorkersError:
            self._client.close()
            raise

    def begin(self, interrupted: Callable[[], bool] = lambda: False) -> None:  # noqa: ARG002 - nothing runs in this thread
        """See `Workers`."""
        self._search += 1
        self._arrays.clear()
        self._scattered.clear()

    def share(self, array: np.ndarray) -> _SharedArray:
        """A handle; each worker receives the array once, with the first task that uses it."""
        self._arrays.append(array)
        return _SharedArray(len(self._arrays) - 1)

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        """See `Workers`."""
        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()  # so that it can only be ended by Dask, not cancelled by its holder
        if self._stopped_up_to >= self._search:
            future.set_exception(SearchCancelledError("the search was cancelled"))
            return future
        if self._client.status != "running":
            self.restart()
        try:
            remote = self._submit(fn, args)
        except _LOST:
            self.restart()
            try:
                remote = self._submit(fn, args)
            except _LOST as error:
                raise WorkersError(f"the Dask cluster at {self._address} does not accept tasks: {error}") from error
        with self._lock:
            self._outstanding[future] = remote
        remote.add_done_callback(functools.partial(self._finished, future))
        if self._stopped_up_to >= self._search:  # cancelled in the meantime
            self._stop(self._stopped_up_to)
        return future

    def cancel(self) -> None:
        """Cancel all tasks of the current search without waiting for running ones; callable from any thread."""
        self._stop(self._search)

    def shut_down(self) -> None:
        """Cancel all tasks of this and all later searches; callable from any thread."""
        self._stop(ALL_SEARCHES)

    def restart(self) -> None:
        """Connect again, and send shared arrays again: a lost worker may have held the only copy."""
        self._disconnect(BrokenExecutor("the task was abandoned"))
        self._client = _connect(self._address)

    def problem(self) -> str:
        """See `Workers`."""
        status = self._client.status
        return "" if status == "running" else f"the connection to the Dask scheduler at {self._address} is {status}"

    def close(self) -> None:
        """Cancel running tasks and disconnect; the cluster keeps running."""
        self.shut_down()
        self._disconnect(SearchCancelledError("the search was cancelled"))

    def _stop(self, search: int) -> None:
        with self._lock:
            self._stopped_up_to = max(self._stopped_up_to, search)
            abandoned, self._outstanding = self._outstanding, {}
        if abandoned:
            with contextlib.suppress(ClosedClientError):  # the scheduler has then dropped the tasks already
                self._client.cancel(list(abandoned.values()))
        for future in abandoned:
            future.set_exception(SearchCancelledError("the search was cancelled"))

    def _disconnect(self, error: Exception) -> None:
        with self._lock:
            abandoned, self._outstanding = self._outstanding, {}
        self._scattered.clear()
        self._client.close()
        for future in abandoned:
            future.set_exception(error)

    def _submit(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> distributed.Future:
        shared = [self._on_workers(a) for a in args if isinstance(a, _SharedArray)]
        # By default Dask would run equal calls only once.
        return self._client.submit(_run, self._versions, self._directory, pickle.dumps((fn, args)), *shared, pure=False)

    def _on_workers(self, handle: _SharedArray) -> distributed.Future:
        held = self._scattered.get(handle.index)
        if held is None or held.status != "finished":
            array = self._arrays[handle.index]
            held = self._client.scatter(array, broadcast=True, hash=False, timeout=_CONNECT_S)
            self._scattered[handle.index] = held
        return held

    def _finished(self, future: Future[Any], remote: distributed.Future) -> None:
        """Copy the outcome of a Dask task to its future. Called in a thread of Dask."""
        status, result = remote.status, None
        error: BaseException | None = None
        try:
            result = remote.result()
        except distributed.KilledWorker as killed:
            error = BrokenExecutor(f"a Dask worker was lost: {killed}")
        except BaseException as raised:  # noqa: BLE001 - a future carries any error of the task
            # If the task itself did not fail, the scheduler, the only holder of the result or a shared array was lost.
            error = raised if status == "error" else BrokenExecutor(f"the Dask cluster lost a task: {raised}")
        with self._lock:
            if self._outstanding.pop(future, None) is None:  # the task was abandoned, which ended the future
                return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def _refuse_incompatible_workers(self) -> None:
        answers = self._client.run(_incompatibility_here, self._versions, on_error="return")
        for worker, answer in answers.items():
            if isinstance(answer, ModuleNotFoundError):
                raise WorkersError(f"the Dask worker {worker} lacks '{answer.name}'; install vaestar[agent,dask] there as well")
            if isinstance(answer, str):
                raise WorkersError(f"the Dask worker {worker} {answer}")


def _connect(address: str) -> distributed.Client:
    advice = "start one with `dask scheduler --host 127.0.0.1`, and `dask worker ADDRESS --nthreads 1`"
    host, port = _host_and_port(address)
    try:
        # A Dask client that fails to connect leaves a thread behind, so test the connection first.
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
    with contextlib.suppress(ValueError):  # the port is not a number
        parts = urllib.parse.urlsplit(address)
        if parts.scheme in ("tcp", "tls") and parts.hostname and parts.port:
            return parts.hostname, parts.port
    raise WorkersError(f"'{address}' is not the address of a Dask scheduler; use the form tcp://127.0.0.1:8786")


@functools.cache
def _incompatibility(expected: Versions, threads: int) -> str | None:
    """The reason why this worker might not compute the same as the client; None if there is none."""
    here = versions()
    for name, version in expected:
        if here.get(name) != version:
            return f"has {name} {here.get(name)}, not {version}; install the same versions on all computers"
    if threads > 1:
        # Global random generators and Pyro's parameter store are shared by the whole process.
        return f"runs {threads} tasks at the same time in one process; start it with --nthreads 1, and use --nworkers for more"
    return None


def _incompatibility_here(expected: Versions, dask_worker: distributed.Worker) -> str | None:
    return _incompatibility(expected, dask_worker.state.nthreads)


def _run(expected: Versions, directory: Path | None, call: bytes, *shared: np.ndarray) -> Any:
    """Run a task in a Dask worker, on one thread."""
    worker = distributed.get_worker()
    if reason := _incompatibility_here(expected, worker):  # the worker may have joined after the check
        raise WorkersError(f"the Dask worker {worker.address} {reason}")
    if directory is not None and str(directory) not in sys.path:
        sys.path.append(str(directory))
    fn, args = pickle.loads(call)  # noqa: S301 - Dask itself uses pickle: all who can connect to a worker are trusted
    arrays = (_read_only(array) for array in shared)
    args = [next(arrays) if isinstance(a, _SharedArray) else a for a in args]
    state = worker.state.tasks[worker.get_current_task()]
    with threadpool_limits(1):
        return fn(*args, stopped=lambda: state.state == "cancelled")


def _read_only(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False  # other tasks of the worker use the same array
    return view
