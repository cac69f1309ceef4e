"""HTTP client for a running agent on this computer, which is found through its run directory.

Only light modules are imported: `vaestar stop` must not wait for a library to load.
"""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.errors import NotRunningError, RefusedError
from agent.history.run_directory import DATABASE, STATE_FILE, TOKEN_FILE, newest_runs
from instrument_adapters.errors import plain_reason

_TIMEOUT_S = 5.0
_MAX_BYTES = 50_000_000


class RemoteAgent:
    """An agent that runs on this computer.

    Parameters
    ----------
    run_directory
        Run directory of the agent.

    Raises
    ------
    NotRunningError
        If no agent runs on it, or the agent has no HTTP server.
    """

    def __init__(self, run_directory: Path) -> None:
        self.run_directory = run_directory
        state = running_state(run_directory)
        self._address = str(state.get("http") or "")
        self.pid = state.get("pid")
        if not self._address:
            raise NotRunningError(
                f"the agent on {run_directory} has no HTTP server; start it with service.http = '127.0.0.1:5557' (or --http), "
                "or end it with SIGTERM"
            )
        # Requests to loopback must not go through a proxy named in the environment.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())

    def get(self, path: str) -> dict[str, Any]:
        """Return the agent's answer to a GET request, such as "/api/status"."""
        return self._send(urllib.request.Request(self._address + path))  # noqa: S310 - the address is loopback's http

    def post(self, command: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send an operator's command and return the agent's answer; by then the command is recorded.

        Raises
        ------
        RefusedError
            If the agent refuses; the message says why.
        NotRunningError
            If the agent does not answer.
        """
        try:
            token = (self.run_directory / TOKEN_FILE).read_text(encoding="ascii").strip()
        except OSError as error:
            raise RefusedError(
                f"{self.run_directory / TOKEN_FILE} cannot be read: {plain_reason(error)}; "
                "only the user that runs the agent can control it"
            ) from error
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        return self._send(
            urllib.request.Request(  # noqa: S310 - the address is loopback's http
                f"{self._address}/api/{command}", json.dumps(body).encode(), headers, method="POST"
            )
        )

    def _send(self, request: urllib.request.Request) -> dict[str, Any]:
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                return _object(answer.read(_MAX_BYTES))
        except urllib.error.HTTPError as error:
            raise RefusedError(f"the agent refuses: {_error_text(error)}") from error
        except TimeoutError as error:
            raise NotRunningError(self._no_answer(f"within {_TIMEOUT_S:g} s")) from error
        except (OSError, ValueError) as error:
            raise NotRunningError(self._no_answer(f"({getattr(error, 'reason', error)})")) from error

    def _no_answer(self, detail: str) -> str:
        return (
            f"the agent on {self.run_directory} (process {self.pid}) does not answer at {self._address} {detail}; "
            "the command may not have arrived: check the agent's log, and stop the instrument directly if there is danger"
        )


def _error_text(error: urllib.error.HTTPError) -> str:
    with error:
        try:
            return str(_object(error.read(_MAX_BYTES))["error"])
        except (OSError, ValueError, LookupError):  # another program uses the port
            return f"HTTP status {error.code} {error.reason}"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow no redirect."""
        return


def running_state(run_directory: Path) -> dict[str, Any]:
    """Return the content of the state file of the agent that runs on a run directory.

    Raises
    ------
    NotRunningError
        If no agent runs on it.
    """
    path = run_directory / STATE_FILE
    try:
        state = _object(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        known = (run_directory / DATABASE).is_file()
        reason = (
            f"start one with `vaestar serve --run {run_directory}`" if known else "it is not a run directory; name one with --run"
        )
        raise NotRunningError(f"no agent runs on {run_directory}; {reason}") from None
    except (OSError, ValueError) as error:
        raise NotRunningError(f"{path} cannot be read: {plain_reason(error)}") from error
    if not _is_alive(state.get("pid")):
        raise NotRunningError(
            f"no agent runs on {run_directory}: process {state.get('pid')} ended without a clean shutdown "
            "(killed, or a power cut); "
            f"`vaestar serve --run {run_directory}` continues the run"
        )
    return state


def resolve_run(run: Path | None) -> Path:
    """Return the given run directory, or the newest with a running agent, or the newest of all.

    Raises
    ------
    NotRunningError
        If none was given and ./runs is empty.
    """
    if run is not None:
        return run
    runs = newest_runs()
    if not runs:
        raise NotRunningError("no agent runs, and there is no run in ./runs; name a run directory with --run")
    return next((path for path in runs if _has_agent(path)), runs[0])


def _has_agent(run_directory: Path) -> bool:
    try:
        running_state(run_directory)
    except NotRunningError:
        return False
    return True


def _is_alive(pid: Any) -> bool:
    if not isinstance(pid, int) or pid <= 0:
        return False
    if os.name != "posix":
        return True  # on Windows os.kill would end the process; a request will show whether it runs
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # a process of another user
        return True
    return True


def _object(content: bytes) -> dict[str, Any]:
    found = json.loads(content)
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - handled like any other damage
    return found
