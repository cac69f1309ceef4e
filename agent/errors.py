"""Errors of the agent. Their messages are shown to people unchanged; some carry the exit code of the command that they end."""

from instrument_adapters import exit_codes


class AgentError(Exception):
    """Base of all errors raised by the agent."""


class UnusableScanError(AgentError, ValueError):
    """The scan cannot be represented: no contrast, too few valid pixels, too few walls, or smaller than a window."""


class PluginError(AgentError, ImportError):
    """A user-defined reward or key-point method cannot be imported, or violates its contract."""


class SearchCancelledError(AgentError, RuntimeError):
    """The search was cancelled: a newer scan arrived, an operator gave a command, or the agent is shutting down."""


class ServiceError(AgentError, OSError):
    """The service cannot start: an address is invalid, in use or not permitted."""


class ControlError(AgentError, ValueError):
    """A command or an approval is refused: the decision is no longer open, a point is outside the limits, a name is unknown."""


class ConfigError(AgentError, ValueError):
    """The configuration file is missing, not TOML, or holds invalid values; the message has one line for each, up to five."""


class HistoryError(AgentError, OSError):
    """The history cannot be opened, written or trusted, or does not contain the requested entry."""


class StorageError(HistoryError):
    """The disk or the database failed."""

    exit_code = exit_codes.STORAGE


class WorkersError(AgentError, OSError):
    """Candidates cannot be trained: no Dask cluster at the address, no worker in it, or an incompatible one."""


class ReportError(AgentError, OSError):
    """The report cannot be written to the given path."""


class IncompleteError(AgentError, RuntimeError):
    """The result was written, but not all figures of it, or not all decisions of a run."""

    exit_code = exit_codes.INCOMPLETE


class FigureError(AgentError, ValueError):
    """The decision lacks the data that the figure shows."""


class LogFileError(AgentError, OSError):
    """The log file cannot be written."""


class DemoError(AgentError, RuntimeError):
    """The agent or the simulator of the demo did not start or failed."""


class NotRunningError(AgentError, ConnectionError):
    """No agent is running on the run directory, or it does not answer."""

    exit_code = exit_codes.NOT_RUNNING


class RefusedError(AgentError, ValueError):
    """The running agent refused the request."""

    exit_code = exit_codes.FAILED


class OutOfTimeError(AgentError, TimeoutError):
    """The deadline has passed; the last complete rung becomes the result."""


def fault_sentence(error: Exception) -> str:
    """The sentence about an exception that no part of the agent expects. It is hashed into decision ids: never reword it."""
    return f"a fault in the agent ({type(error).__name__}: {error}); please report it"
