"""What all adapters share on the command line: which agent, under which name, with which keys, and how they say what they do."""

import argparse
import json
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
from instrument_adapters.protocol.curve_keys import ClientKeys

_LOG = logging.getLogger(__name__)


class _JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        facts = {"at": at, "level": record.levelname.lower(), "from": record.name, "sentence": record.getMessage()}
        if record.exc_info:
            facts["exception"] = self.formatException(record.exc_info)
        return json.dumps(facts, ensure_ascii=False)


def add_connection_options(parser: argparse.ArgumentParser, instrument_id: str | None, *, connect_required: bool = True) -> None:
    """`--connect --instrument-id --spool --key --agent-key --log-format`; no `--instrument-id` where a file names it."""
    add = parser.add_argument
    add(
        "--connect",
        type=values.address,
        required=connect_required,
        metavar="ADDRESS",
        help="where the agent listens, as tcp://127.0.0.1:5555",
    )
    if instrument_id is not None:
        add(
            "--instrument-id",
            type=values.name,
            default=instrument_id,
            metavar="NAME",
            help="name of this instrument (%(default)s)",
        )
    add("--spool", type=Path, default=None, metavar="DIR", help="where unfinished work survives a crash")
    add_key_options(parser)
    add("--log-format", choices=("text", "json"), default="text", help="sentences, or a JSON object a line (%(default)s)")


def begin_to_log(form: str) -> None:
    """Say on the standard error what happens, in the form of `--log-format`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines() if form == "json" else logging.Formatter("%(asctime)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def work_for_agent(
    instrument: Instrument,
    address: str,
    *,
    cycles: int | None,
    stop: threading.Event,
    spool: Path | None,
    keys: ClientKeys | None,
) -> int:
    """Exit code: 0 when the cycles are done or after a signal, 1 if agent or instrument gives up, 4 if the spool fails."""
    # Here, so that bad input is reported and --help shown without loading zmq.
    from instrument_adapters.client import run_client, stop_on_signals

    stop_on_signals(stop)
    try:
        report = run_client(instrument, address, cycles=cycles, stop=stop, spool_dir=spool, keys=keys)
    except (AdapterError, OSError, ValueError) as error:
        _LOG.error("%s", error)
        return exit_codes.of(error, exit_codes.FAILED)
    _LOG.info("%s is done: %s", instrument.instrument_id, report)
    return exit_codes.OK
