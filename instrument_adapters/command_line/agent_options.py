"""Command-line options of all adapters: the agent's address, the instrument's name, spool, keys and log format."""

import argparse
import logging
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path

from instrument_adapters import exit_codes
from instrument_adapters.command_line import arguments as values
from instrument_adapters.command_line.key_options import add_key_options
from instrument_adapters.errors import AdapterError
from instrument_adapters.instrument import Instrument
from instrument_adapters.plain_text import as_json, visible
from instrument_adapters.protocol.curve_keys import ClientKeys

_LOG = logging.getLogger(__name__)


class _JsonLines(logging.Formatter):
    """Formats a log record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts = {"at": at, "level": record.levelname.lower(), "from": record.name, "sentence": record.getMessage()}
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return as_json(facts)


class _TextLines(logging.Formatter):
    """Formats a log record as one line of text, with its traceback below; what comes from elsewhere cannot add lines."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"{self.formatTime(record)} {visible(record.getMessage())}"
        trace = visible(self.formatException(record.exc_info), keep="\n") if record.exc_info else ""
        return f"{line}\n{trace}" if trace else line


def add_connection_options(parser: argparse.ArgumentParser, instrument_id: str | None, *, connect_required: bool = True) -> None:
    """Add `--connect --instrument-id --spool --key --agent-key --log-format`.

    `instrument_id` is the default name; None where a settings file gives the name, which leaves the option out.
    """
    add = parser.add_argument
    add(
        "--connect",
        type=values.address,
        required=connect_required,
        metavar="ADDRESS",
        help="address of the agent, such as tcp://127.0.0.1:5555",
    )
    if instrument_id is not None:
        add(
            "--instrument-id",
            type=values.name,
            default=instrument_id,
            metavar="NAME",
            help="name of this instrument (default: %(default)s)",
        )
    add("--spool", type=Path, default=None, metavar="DIR", help="directory that keeps unfinished work after a crash")
    add_key_options(parser)
    add(
        "--log-format",
        choices=("text", "json"),
        default="text",
        help="plain text, or one JSON object on each line (default: %(default)s)",
    )


def configure_logging(log_format: str) -> None:
    """Log to standard error in the given `--log-format`, "text" or "json"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if log_format == "json" else _TextLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def run_for_agent(
    instrument: Instrument,
    address: str,
    *,
    cycles: int | None,
    stop: threading.Event,
    spool: Path | None,
    keys: ClientKeys | None,
) -> int:
    """Run the client; returns its exit code: 0 when finished or after a signal, 1 after a failure, 4 if the spool fails."""
    # Imported here, so that --help and errors in the options do not load zmq.
    from instrument_adapters.client import run_client, stop_on_signals

    stop_on_signals(stop)
    try:
        report = run_client(instrument, address, cycles=cycles, stop=stop, spool_dir=spool, keys=keys)
    except (AdapterError, OSError, ValueError) as error:
        _LOG.error("%s", error)
        return exit_codes.for_error(error, exit_codes.FAILED)
    _LOG.info("%s has finished: %s", instrument.instrument_id, report)
    return exit_codes.OK
