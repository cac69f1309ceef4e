"""`python -m instrument_adapters replay SOURCE --connect tcp://127.0.0.1:5555`: recorded data that works for an agent."""

import argparse
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from instrument_adapters.command_line import arguments as values
from instrument_adapters.command_line.agent_options import add_connection_options, begin_to_log, work_for_agent
from instrument_adapters.command_line.key_options import client_keys
from instrument_adapters.errors import AdapterError
from instrument_adapters.replay.instrument import Replay
from instrument_adapters.replay.pacing import Pace
from instrument_adapters.replay.sources import open_source

_LOG = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Exit code: 0 when the cycles are done or after a signal, 1 if agent or replay gave up, 2 for bad input."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    begin_to_log(arguments.log_format)
    stop = threading.Event()
    try:
        recorded = open_source(arguments.source, arguments.data, arguments.sample_id)
        replay = Replay(
            recorded,
            instrument_id=arguments.instrument_id,
            model=f"Replay of {_short(arguments.source)}",
            pace=Pace(arguments.speed, stop=stop),
            first_scan=arguments.first_scan,
            farthest_m=None if arguments.farthest_nm is None else arguments.farthest_nm * 1e-9,
            points_max=arguments.points_max,
        )
        keys = client_keys(arguments)
    except AdapterError as error:
        parser.error(str(error))
    cycles = len(recorded) if arguments.cycles is None else arguments.cycles
    _LOG.info("%s replays %s: %d recordings", arguments.instrument_id, arguments.source, len(recorded))
    return work_for_agent(replay, arguments.connect, cycles=cycles or None, stop=stop, spool=arguments.spool, keys=keys)


def _short(source: str) -> str:
    """What fits into the name of a model on the wire."""
    return "".join(c for c in Path(source).name if c.isprintable())[:48] or "recorded data"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m instrument_adapters replay",
        description="Recorded data that work for an agent as an instrument does.",
    )
    add = parser.add_argument
    add(
        "source",
        metavar="SOURCE",
        help="mexpsimu, mexpsimu:FILM (1d3um, 1d7um, 3um), a scan file (.ibw, .h5) or a folder of them",
    )
    add_connection_options(parser, "replay")
    add("--data", type=Path, default=None, metavar="FOLDER", help="mexpsimu's .npz files (default: where it is installed)")
    add("--sample-id", type=values.name, default=None, metavar="NAME", help="name of the sample (default: by the source)")
    add(
        "--cycles",
        type=values.count(0),
        default=None,
        metavar="N",
        help="scans to replay and follow up; after the last recording the first comes again; 0: until stopped (each once)",
    )
    add("--first-scan", type=values.count(1), default=1, metavar="N", help="number of the first scan, for going on later (1)")
    add(
        "--speed",
        type=values.speed,
        default=None,
        metavar="event|real|N",
        help="wait for nothing, line by line as recorded, or N times faster (event)",
    )
    add(
        "--farthest-nm",
        type=values.not_negative,
        default=None,
        metavar="NM",
        help="largest distance of a record that answers for a point (default: one pixel)",
    )
    add("--points-max", type=values.count(0), default=200, metavar="N", help="loops a scan (%(default)s)")
    return parser
