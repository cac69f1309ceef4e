"""What the agent cannot do with what it was given, one exception per kind; messages are shown to people as they stand."""

from instrument_adapters import exit_codes


class AgentError(Exception):
    """Base of all errors raised by the agent."""


class UnusableScanError(AgentError, ValueError):
    """The scan holds nothing that could be represented: no contrast, too few valid pixels, too small, too few walls."""


class PluginError(AgentError, ImportError):
    """A user's own reward or key-point method could not be found, or did not do what its contract says."""


class SearchCancelledError(AgentError, RuntimeError):
    """The search was stopped from outside, by a newer scan or by a person."""


class ServiceError(AgentError, OSError):
    """The service cannot start: the address is in use, not allowed, or not an address."""


class ControlError(AgentError, ValueError):
    """What was asked for cannot be done: a decision that is not open any more, a point outside the limits, an unknown name."""


class ConfigError(AgentError, ValueError):
    """The configuration file is missing, is not TOML, or holds values that are not allowed: a line for each, five at most."""


class HistoryError(AgentError, OSError):
    """The history cannot be opened, written or trusted, or does not hold what was asked for."""


class StorageError(HistoryError):
    """The disk or the database does not do what it should."""

    exit_code = exit_codes.STORAGE


class WorkersError(AgentError, OSError):
    """There is nobody to train the candidates: no cluster at that address, no worker in it, or an unfit one."""


class ReportError(AgentError, OSError):
    """The report cannot be written where it was asked for."""


class FigureError(AgentError, ValueError):
    """The decision does not hold what the figure shows."""


class LogFileError(AgentError, OSError):
    """The log file cannot be written."""


class DemoError(AgentError, RuntimeError):
    """One of the two processes did not do its part."""


class NotRunningError(AgentError, ConnectionError):
    """No agent runs on the run that was named, or it does not answer."""

    exit_code = exit_codes.NOT_RUNNING


class RefusedError(AgentError, ValueError):
    """The agent runs and has said no."""

    exit_code = exit_codes.FAILED


class OutOfTimeError(AgentError, TimeoutError):
    """The deadline has passed; what was complete by then is used."""
