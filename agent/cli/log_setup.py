"""Logging: one pipeline for our own lines and those of libraries, to stderr (for people or as JSON) and to a file.

A line that concerns a scan, a decision or an instrument carries its id. Ids bound with `structlog.contextvars` during a search
are on every line written meanwhile, including those of libraries.
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
from instrument_adapters.errors import plain_reason
from instrument_adapters.plain_text import visible

_FILE_BYTES = 10_000_000
_FILES = 10
_QUIET = {
    "apscheduler": logging.WARNING,
    "asyncio": logging.WARNING,
    "matplotlib": logging.WARNING,
    "distributed": logging.WARNING,
}


def log_to(stderr: LogFormat = LogFormat.CONSOLE, level: LogLevel = LogLevel.INFO, file: Path | None = None) -> None:
    """Configure the logging of this process.

    Parameters
    ----------
    stderr
        Format on stderr: for people, or one JSON object per line.
    level
        Lowest level that is logged.
    file
        File for JSON lines. At most ten files of 10 MB are kept: the newest under this name, older ones with .1, .2, ...

    Raises
    ------
    LogFileError
        If the file cannot be written.
    """
    console: Processor = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), pad_event_to=22)
    stderr_handler = _handler(
        logging.StreamHandler(sys.stderr), *([_for_people, console] if stderr is LogFormat.CONSOLE else [_JSON])
    )
    handlers: list[logging.Handler] = [stderr_handler]
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
    for name, lowest in _QUIET.items():
        logging.getLogger(name).setLevel(max(lowest, number))
    logging.raiseExceptions = False  # a full disk or a closed terminal must not end the agent
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
_KEPT = {"exception": "\n", "stack": "\n"}
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
        return logging.handlers.RotatingFileHandler(
            path, maxBytes=_FILE_BYTES, backupCount=_FILES - 1, encoding="utf-8", errors="backslashreplace"
        )
    except OSError as error:
        raise LogFileError(
            f"the log file {path} cannot be written: {plain_reason(error)}; give another one with --log-file"
        ) from error


def _for_people(_logger: Any, _name: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Format a line for people: local time of day, and the facts of the start-up message one below the other.

    A value that came from elsewhere stays within its line, and is not obeyed by the terminal; a traceback keeps its lines.
    """
    line.update({key: visible(value, keep=_KEPT.get(key, "")) for key, value in line.items() if isinstance(value, str)})
    line.pop("logger", None)
    line["timestamp"] = structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False)(None, "", {})["timestamp"]
    if line.get("event") == "listening":
        facts = {name: line.pop(name) for name in [*line] if name not in ("event", "level", "timestamp")}
        line["event"] = "\n".join(["listening", *(f"    {name:<12}{value}" for name, value in facts.items() if value != "")])
    return line
