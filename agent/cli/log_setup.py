"""Logs: one pipe for our own lines and those of the libraries, to stderr for people or programs, and to a file for later.

A line that concerns a scan, a decision or an instrument carries its id; what is bound with `structlog.contextvars` while a scan
is decided on is on every line meanwhile, whoever writes it.
"""

import logging
import logging.handlers
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import structlog
from structlog.typing import Processor

from agent.config.logs import LogFormat, LogLevel
from agent.errors import LogFileError

_FILE_BYTES = 10_000_000
_FILES = 10
_QUIET = {
    "apscheduler": logging.WARNING,
    "asyncio": logging.WARNING,
    "matplotlib": logging.WARNING,
    "distributed": logging.WARNING,
}


def log_to(stderr: LogFormat = LogFormat.CONSOLE, level: LogLevel = LogLevel.INFO, file: Path | None = None) -> None:
    """Send all lines of this process there from now on.

    Parameters
    ----------
    stderr
        For people, or a JSON object a line.
    level
        The least that is told.
    file
        JSON lines, ten files of 10 MB at most: the newest under this name, older ones with .1, .2, ...

    Raises
    ------
    LogFileError
        If the file cannot be written.
    """
    console: Processor = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=22)
    lines = _handler(logging.StreamHandler(sys.stderr), *([_as_block, console] if stderr is LogFormat.CONSOLE else [_JSON]))
    handlers: list[logging.Handler] = [lines]
    if file is not None:
        handlers.append(_handler(_rotating(file), _JSON))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
        old.close()
    for handler in handlers:
        root.addHandler(handler)
    number = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(number)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(least, number))
    logging.raiseExceptions = False  # a full disk or a closed terminal must not end the agent over its log
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )


_SHARED: list[Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.stdlib.PositionalArgumentsFormatter(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
]
_JSON = structlog.processors.JSONRenderer(default=str)


def _handler(handler: logging.Handler, *last: Processor) -> logging.Handler:
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_SHARED,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    return handler


def _rotating(path: Path) -> logging.Handler:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return logging.handlers.RotatingFileHandler(path, maxBytes=_FILE_BYTES, backupCount=_FILES - 1, encoding="utf-8")
    except OSError as error:
        raise LogFileError(f"the log file {path} cannot be written: {error}; give another one with --log-file") from error


def _as_block(_logger: Any, _name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """For people: the time of day by the local clock, and what is told at the start one thing below the other."""
    line.pop("logger", None)
    line["timestamp"] = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)(None, "", {})["timestamp"]
    if line.get("event") == "listening":
        facts = {name: line.pop(name) for name in [*line] if name not in ("event", "level", "timestamp")}
        line["event"] = "\n".join(["listening", *(f"    {name:<12}{value}" for name, value in facts.items() if value != "")])
    return line
