"""Format and level of the log. Separate from `agent.cli.log_setup`, so that the command line need not load structlog."""

from enum import StrEnum


class LogFormat(StrEnum):
    """Format of the log lines on stderr."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """Lowest level that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
