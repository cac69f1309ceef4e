"""What a person may say about logs; apart from `agent.cli.log_setup`, so that the command line need not load a library for it."""

from enum import StrEnum


class LogFormat(StrEnum):
    """How lines look on stderr."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least that is told."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
