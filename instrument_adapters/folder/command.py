"""`python -m instrument_adapters folder PATH --connect tcp://127.0.0.1:5555`: sends the scans of a folder to an agent."""

import argparse
import logging
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from instrument_adapters.command_line import arguments as values
from instrument_adapters.command_line.agent_options import add_connection_options, configure_logging, run_for_agent
from instrument_adapters.command_line.key_options import client_keys
from instrument_adapters.command_line.time_zone import parse_time_zone
from instrument_adapters.errors import AdapterError, ScanFileError
from instrument_adapters.folder.inbox import Inbox
from instrument_adapters.folder.instrument import FolderSettings, WatchedFolder
from instrument_adapters.folder.outbox import Outbox
from instrument_adapters.folder.watcher import WatchSettings
from instrument_adapters.protocol.messages import Limits

_LOG = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code.

    0 after the last cycle or a signal, 1 if the agent or the adapter failed, 2 for invalid arguments.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    configure_logging(arguments.log_format)
    stop = threading.Event()
    try:
        settings = _settings(arguments)
        outbox, inbox = arguments.outbox.resolve(), (arguments.inbox or arguments.outbox / "results").resolve()
        _refuse_inside_watched(settings.folder, outbox, "--outbox")
        keys = client_keys(arguments)
    except AdapterError as error:
        parser.error(str(error))
    instrument = WatchedFolder(
        settings,
        Outbox(outbox, _now),
        Inbox(inbox, time.monotonic),
        pause=stop.wait,
        close=stop.set,
        wall=time.monotonic,
        clock=_now,
    )
    _LOG.info("%s watches %s; recommended points go to %s", settings.instrument_id, settings.folder, outbox)
    cycles = arguments.cycles or None
    return run_for_agent(instrument, arguments.connect, cycles=cycles, stop=stop, spool=arguments.spool, keys=keys)


def _settings(arguments: argparse.Namespace) -> FolderSettings:
    folder = arguments.folder.resolve()
    if not folder.is_dir():
        raise ScanFileError(f"there is no folder {folder}; give the folder that scans are saved or copied to")
    range_m = arguments.range_um * 1e-6
    return FolderSettings(
        folder=folder,
        zone=arguments.zone,
        instrument_id=arguments.instrument_id,
        limits=Limits(
            x_min_m=-range_m,
            x_max_m=range_m,
            y_min_m=-range_m,
            y_max_m=range_m,
            spacing_min_m=arguments.spacing_nm * 1e-9,
            points_max=arguments.points_max,
        ),
        watch=WatchSettings(
            subfolders=arguments.subfolders, existing=arguments.existing, order=arguments.order, settle_s=arguments.settle
        ),
        wait_results_s=arguments.wait_results,
        sample_id=arguments.sample_id,
        sample_key=arguments.sample_key,
    )


def _refuse_inside_watched(folder: Path, outbox: Path, option: str) -> None:
    if outbox == folder or folder in outbox.parents:
        raise ScanFileError(
            f"{option} {outbox} lies inside the watched folder, to which nothing is ever written; give another folder"
        )


def _zone(text: str) -> tzinfo:
    try:
        return parse_time_zone(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _now() -> datetime:
    return datetime.now(UTC)


def _parser() -> argparse.ArgumentParser:
    parser = values.OneSentenceParser(
        prog="vaestar adapter folder",
        description="Sends scan files that appear in a folder to an agent and writes the recommended points to another folder.",
    )
    add = parser.add_argument
    add(
        "folder",
        metavar="PATH",
        type=Path,
        help="folder in which scans (.ibw, NSID .h5, .hdf5, .hf5) appear; nothing is written to it",
    )
    add_connection_options(parser, "folder")
    add(
        "--cycles",
        type=values.count(0),
        default=0,
        metavar="N",
        help="number of scans to process; 0: until stopped (%(default)s)",
    )
    add("--subfolders", action="store_true", help="also watch subfolders")
    add(
        "--existing",
        choices=("none", "newest", "all"),
        default="newest",
        help="which scans already present at the start to process (%(default)s)",
    )
    add(
        "--order",
        choices=("recorded", "arrival"),
        default="recorded",
        help="recorded: skip a scan that was recorded before one already processed (%(default)s)",
    )
    add("--settle", type=values.not_negative, default=2.0, metavar="S", help="seconds a complete file must stay unchanged (2)")
    add(
        "--zone",
        type=_zone,
        default="local",
        metavar="ZONE",
        help="time zone of the instrument's clock: local, UTC, +02:00 (%(default)s)",
    )
    add("--sample-id", type=values.name, default=None, metavar="NAME", help="name of the sample (default: name of the subfolder)")
    add("--sample-key", default=None, metavar="KEY", help="key in the scan's note that holds the name of the sample")
    add("--outbox", type=Path, default=Path("outbox"), metavar="DIR", help="folder to which points are written (%(default)s)")
    add("--inbox", type=Path, default=None, metavar="DIR", help="folder from which results are read (OUTBOX/results)")
    add("--wait-results", type=values.not_negative, default=0.0, metavar="S", help="seconds to wait for results of points (0)")
    add("--range-um", type=values.positive, default=45.0, metavar="UM", help="range of the stage, -UM to UM (%(default)s)")
    add(
        "--spacing-nm",
        type=values.not_negative,
        default=100.0,
        metavar="NM",
        help="smallest distance between points (%(default)s)",
    )
    add("--points-max", type=values.count(0), default=200, metavar="N", help="most points per scan (%(default)s)")
    return parser
