"""The running agent, as a command reaches it: found through its run directory, told over HTTP on loopback.

Nothing heavy is imported: `vaestar stop` must not wait for a library to load.
"""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.errors import NotRunningError, RefusedError
from agent.history.run_directory import DATABASE, STATE_FILE, TOKEN_FILE, newest

_PATIENCE_S = 5.0
_MOST_BYTES = 50_000_000


class RemoteAgent:
    """An agent that runs on this computer.

    Parameters
    ----------
    run_directory
        Of its run.

    Raises
    ------
    NotRunningError
        If none runs there, or it has no HTTP door.
    """

    def __init__(self, run_directory: Path) -> None:
        self.run_directory = run_directory
        state = running_state(run_directory)
        self._address = str(state.get("http") or "")
        self.pid = state.get("pid")
        if not self._address:
            raise NotRunningError(
                f"the agent on {run_directory} has no HTTP door; start it with service.http = '127.0.0.1:5557' (or --http), "
                "or end it in order with SIGTERM"
            )
        # A proxy that the environment names has no business between two programs on one computer.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())

    def ask(self, path: str) -> dict[str, Any]:
        """What the agent answers to a question such as "/api/status"."""
        return self._answered(urllib.request.Request(self._address + path))  # noqa: S310 - the address is loopback's http

    def tell(self, word: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """What the agent answers to a person's word; it has recorded it by then.

        Raises
        ------
        RefusedError
            If it says no, with its sentence.
        NotRunningError
            If it does not answer.
        """
        try:
            token = (self.run_directory / TOKEN_FILE).read_text(encoding="ascii").strip()
        except OSError as error:
            raise RefusedError(
                f"{self.run_directory / TOKEN_FILE} cannot be read: {error}; "
                "only the user that runs the agent may tell it something"
            ) from error
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        return self._answered(
            urllib.request.Request(  # noqa: S310 - the address is loopback's http
                f"{self._address}/api/{word}", json.dumps(body).encode(), headers, method="POST"
            )
        )

    def _answered(self, request: urllib.request.Request) -> dict[str, Any]:
        try:
            with self._opener.open(request, timeout=_PATIENCE_S) as answer:
                return _object(answer.read(_MOST_BYTES))
        except urllib.error.HTTPError as error:
            sentence = _sentence_of(error)
            raise RefusedError(f"the agent refuses: {sentence}") from error
        except TimeoutError as error:
            raise NotRunningError(self._silent(f"within {_PATIENCE_S:g} s")) from error
        except (OSError, ValueError) as error:
            raise NotRunningError(self._silent(f"({getattr(error, 'reason', error)})")) from error

    def _silent(self, how: str) -> str:
        return (
            f"the agent on {self.run_directory} (process {self.pid}) does not answer at {self._address} {how}; "
            "what it was told may not have been heard: look at its log, and stop the instrument itself if there is danger"
        )


def _sentence_of(error: urllib.error.HTTPError) -> str:
    with error:
        try:
            return str(_object(error.read(_MOST_BYTES))["error"])
        except (OSError, ValueError, LookupError):  # something else than an agent has taken its port
            return f"it answers {error.code} {error.reason}"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Nowhere else."""
        return


def running_state(run_directory: Path) -> dict[str, Any]:
    """What the agent that runs on a run says of itself.

    Raises
    ------
    NotRunningError
        If none does.
    """
    path = run_directory / STATE_FILE
    try:
        state = _object(path.read_bytes())
    except FileNotFoundError:
        known = (run_directory / DATABASE).is_file()
        reason = (
            f"start one with `vaestar serve --run {run_directory}`" if known else "that is no run directory; name one with --run"
        )
        raise NotRunningError(f"no agent runs on {run_directory}; {reason}") from None
    except (OSError, ValueError) as error:
        raise NotRunningError(f"{path} cannot be read: {error}") from error
    if not _alive(state.get("pid")):
        raise NotRunningError(
            f"no agent runs on {run_directory}: process {state.get('pid')} ended without a farewell (killed, or a power cut); "
            f"`vaestar serve --run {run_directory}` takes the run up"
        )
    return state


def which(run: Path | None) -> Path:
    """The run directory that was named; else the newest on which an agent runs, or the newest of all.

    Raises
    ------
    NotRunningError
        If none was named and there is none.
    """
    if run is not None:
        return run
    runs = newest()
    if not runs:
        raise NotRunningError("no agent runs, and there is no run in ./runs; name a run directory with --run")
    return next((path for path in runs if _runs(path)), runs[0])


def _runs(run_directory: Path) -> bool:
    try:
        running_state(run_directory)
    except NotRunningError:
        return False
    return True


def _alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    if os.name != "posix":
        return True  # there os.kill would end it; whoever asks finds out by the answer
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _object(content: bytes) -> dict[str, Any]:
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - told like any other damage
    return found
