"""Workers that are spawned processes of one thread each. They are kept between searches and end with their parent process.

A shared array is a file in a temporary directory, which each process maps into its memory once, without copies.
"""

import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, InvalidStateError, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from agent.errors import SearchCancelledError
from agent.workers.base import ALL_SEARCHES, Workers
from instrument_adapters.child_process import SAFE_PATH, last_words

_GRACE_S = 1.0  # time to stop; then the process of the task is ended
_WATCH_S = 0.2
_STDERR = ".stderr"  # suffix of the files with what processes wrote last
_PR_SET_PDEATHSIG = 1  # of linux/prctl.h
_NICENESS = 10  # answering instruments takes precedence over training

# State of a worker process:
_cancelled_up_to: Any = None  # shared value: number of the latest cancelled search
_mapped: dict[Path, np.ndarray] = {}


@dataclass(frozen=True)
class _SharedFile:
    path: Path


class ProcessWorkers(Workers):
    """Spawned processes.

    Parameters
    ----------
    count
        Number of processes.
    directory
        Path of a directory with user-defined modules, which is added to their import path.
    """

    def __init__(self, count: int, directory: Path | None = None) -> None:
        self._count, self._directory = count, directory
        self._search = 0
        self._lock = threading.Lock()
        # Without a shared lock: a worker that is killed while it holds the lock would block all others.
        self._cancelled = multiprocessing.get_context("spawn").Value("q", -1, lock=False)
        self._files = tempfile.TemporaryDirectory(prefix="vaestar-", ignore_cleanup_errors=True)
        self._shared: list[Path] = []
        self._pool = self._new_pool()

    def begin(self, interrupted: Callable[[], bool] = lambda: False) -> None:  # noqa: ARG002 - nothing runs in this thread
        """See `Workers`."""
        self._search += 1
        while self._shared:
            try:
                self._shared.pop().unlink()
            except OSError:  # Windows cannot remove a file that a worker has mapped; `close` removes it
                continue

    def share(self, array: np.ndarray) -> _SharedFile:
        """Handle of a file with `array`; tasks get it read-only."""
        path = Path(self._files.name, f"{self._search}-{len(self._shared)}.npy")
        np.save(path, array, allow_pickle=False)
        self._shared.append(path)
        return _SharedFile(path)

    def submit(self, fn: Callable[..., Any], *args: Any) -> Future[Any]:
        """See `Workers`."""
        try:
            return self._submit(fn, args)
        except BrokenExecutor:  # a process died while it was idle
            self.restart()
            return self._submit(fn, args)

    def _submit(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> Future[Any]:
        with _safe_path():  # the pool starts its processes as they are needed
            return _IndependentFuture(self._pool.submit(_run, self._search, fn, *args))

    def cancel(self) -> None:
        """See `Workers`."""
        self._stop(self._search)

    def shut_down(self) -> None:
        """Make `stopped` true for good, and end processes whose tasks do not respond; callable from any thread."""
        self._stop(ALL_SEARCHES)

    def restart(self) -> None:
        """New processes in place of a broken pool."""
        _kill(self._pool)  # the pool itself would wait for ever for one that is stopped (SIGSTOP)
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._new_pool()

    def last_loss(self) -> str:
        """See `Workers`. The processes that the pool ended afterwards, because one was lost, are not meant."""
        for process in list((self._pool._processes or {}).values()):
            process.join(_GRACE_S)
            if process.exitcode not in (None, 0, -signal.SIGTERM):
                return _ending(process.exitcode, last_words(Path(self._files.name, f"{process.pid}{_STDERR}")))
        return ""

    def replace(self) -> None:
        """Kill all processes, whose tasks do not respond, and start new ones."""
        self.restart()

    def close(self) -> None:
        """Cancel running tasks, end the processes and remove the shared files."""
        self.shut_down()
        kill = threading.Timer(3 * _GRACE_S, _kill, [self._pool])  # needed for a task that holds the GIL
        kill.start()
        self._pool.shutdown(wait=True, cancel_futures=True)
        kill.cancel()
        self._files.cleanup()

    def _stop(self, search: int) -> None:
        with self._lock:
            self._cancelled.value = max(self._cancelled.value, search)

    def _new_pool(self) -> ProcessPoolExecutor:
        arguments = (self._cancelled, self._directory, self._files.name)
        context = multiprocessing.get_context("spawn")
        with _safe_path():
            return ProcessPoolExecutor(self._count, context, initializer=_start_worker, initargs=arguments)


class _IndependentFuture(Future[Any]):
    """A future with the same result as the pool's, which can be cancelled without cancelling the pool's.

    When a process dies, the pool of Python 3.11 sets the exception of all its futures in turn, and fails at the first cancelled
    one, so that the others never end. Therefore the pool's futures are never cancelled; an unwanted task ends through `stopped`.
    """

    def __init__(self, inner: Future[Any]) -> None:
        super().__init__()
        self._inner = inner
        inner.add_done_callback(self._copy_result)

    def cancel(self) -> bool:
        """False once the task may have begun."""
        if self._inner.running() or not super().cancel():
            return False
        self.set_running_or_notify_cancel()
        return True

    def _copy_result(self, done: Future[Any]) -> None:
        with contextlib.suppress(InvalidStateError):  # cancelled in the meantime
            if self.cancelled():
                return
            if done.cancelled():
                super().cancel()
                self.set_running_or_notify_cancel()
            elif (error := done.exception()) is not None:
                self.set_exception(error)
            else:
                self.set_result(done.result())


@contextlib.contextmanager
def _safe_path() -> Iterator[None]:
    """Processes that are started meanwhile do not import from the working directory before they have their parent's path."""
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


def _ending(exit_code: int, said: str) -> str:
    """How a process ended, in words."""
    if exit_code == -getattr(signal, "SIGKILL", 9):
        how = "one was killed (signal 9), as the system does when memory runs out"
    else:
        how = f"one ended by signal {-exit_code}" if exit_code < 0 else f"one ended with exit code {exit_code}"
    return f"{how}; it said: {said}" if said else how


def _kill(pool: ProcessPoolExecutor) -> None:
    # Python 3.14 has `kill_workers` for this. `shutdown` ends idle processes only.
    for process in list((pool._processes or {}).values()):
        process.kill()


def _start_worker(cancelled: Any, directory: Path | None, files: str) -> None:
    global _cancelled_up_to
    _cancelled_up_to = cancelled
    _keep_last_words(Path(files))
    _be_continued_at_the_end_of_the_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent decides what ends
    if sys.platform != "win32":
        os.nice(_NICENESS)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(variable, "1")  # for libraries loaded later
    threadpool_limits(1)  # for libraries already loaded
    if directory is not None and str(directory) not in sys.path:
        sys.path.append(str(directory))  # last, so that a user's file cannot hide one of our modules
    threading.Thread(target=_exit_when_abandoned, args=(files,), daemon=True).start()


def _keep_last_words(files: Path) -> None:
    """Let what libraries and a crash write to the descriptor of standard error go to a file, which the parent quotes.

    Python's own warnings and log lines go where they went.
    """
    with contextlib.suppress(OSError, AttributeError):  # no standard error, or no space: nothing is quoted
        sys.stderr = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
        with (files / f"{os.getpid()}{_STDERR}").open("wb") as file:
            os.dup2(file.fileno(), 2)
        faulthandler.enable(2, all_threads=False)


def _be_continued_at_the_end_of_the_parent() -> None:
    """Have Linux continue this process when its parent ends: while stopped (SIGSTOP) it cannot notice that, and would stay."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGCONT))


def _exit_when_abandoned(files: str) -> None:
    """Exit this process once its parent has ended or has shut it down."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    while parent.is_alive():
        parent.join(_WATCH_S)
        if _cancelled_up_to.value == ALL_SEARCHES:
            parent.join(_GRACE_S)
            break
    if not parent.is_alive():
        shutil.rmtree(files, ignore_errors=True)
    os._exit(1)


def _run(search: int, fn: Callable[..., Any], *args: Any) -> Any:
    if _cancelled_up_to.value >= search:
        raise SearchCancelledError("the search was cancelled before this task began")
    for path in [p for p in _mapped if not p.exists()]:  # of an earlier search; a mapped file still occupies the disk
        del _mapped[path]
    args = tuple(_opened(a.path) if isinstance(a, _SharedFile) else a for a in args)
    return fn(*args, stopped=lambda: _cancelled_up_to.value >= search)


def _opened(path: Path) -> np.ndarray:
    if path not in _mapped:
        _mapped[path] = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
    return _mapped[path]
