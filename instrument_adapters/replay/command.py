"""`python -m instrument_adapters replay SOURCE --connect tcp://127.0.0.1:5555`: recorded data as an agent's instrument."""

import argparse
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from instrument_adapters.command_line import arguments as values
from instrument_adapters.command_line.agent_options import add_connection_options, configure_logging, run_for_agent
from instrument_adapters.command_line.key_options import client_keys
from instrument_adapters.errors import AdapterError
from instrument_adapters.replay.instrument import Replay
from instrument_adapters.replay.pacing import Pace
from instrument_adapters.replay.sources import open_source

_LOG = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code.

    0 after the last cycle or a signal, 1 if the agent or the replay failed, 2 for invalid arguments.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    configure_logging(arguments.log_format)
    stop = threading.Event()
    try:
        recorded = open_source(arguments.source, arguments.data, arguments.sample_id)
        replay = Replay(
            recorded,
            instrument_id=arguments.instrument_id,
            model=f"Replay of {_model_name(arguments.source)}",
            pace=Pace(arguments.speed, stop=stop),
            first_scan=arguments.first_scan,
            farthest_m=None if arguments.farthest_nm is None else arguments.farthest_nm * 1e-9,
            points_max=arguments.points_max,
        )
        keys = client_keys(arguments)
    except AdapterError as error:
        parser.error(str(error))
    cycles = len(recorded) if arguments.cycles is None else arguments.cycles
    _LOG.info("%s replays %d recordings of %s", arguments.instrument_id, len(recorded), arguments.source)
    return run_for_agent(replay, arguments.connect, cycles=cycles or None, stop=stop, spool=arguments.spool, keys=keys)


def _model_name(source: str) -> str:
    """Name of the source, shortened to the length and the characters that the wire allows for a model."""
    return "".join(c for c in Path(source).name if c.isprintable())[:48] or "recorded data"


def _parser() -> argparse.ArgumentParser:
    parser = values.OneSentenceParser(
        prog="vaestar adapter replay",
        description="Replays recorded data to an agent as an instrument.",
    )
    add = parser.add_argument
    add(
        "source",
        metavar="SOURCE",
        help="mexpsimu, mexpsimu:FILM (1d3um, 1d7um, 3um), a scan file (.ibw, .h5, .hdf5, .hf5) or a folder of scan files",
    )
    add_connection_options(parser, "replay")
    add(
        "--data",
        type=Path,
        default=None,
        metavar="FOLDER",
        help="folder of mexpsimu's .npz files (default: where it is installed)",
    )
    add("--sample-id", type=values.name, default=None, metavar="NAME", help="name of the sample (default: depends on the source)")
    add(
        "--cycles",
        type=values.count(0),
        default=None,
        metavar="N",
        help="number of scans to replay; the first recording follows the last; 0: until stopped (default: each recording once)",
    )
    add("--first-scan", type=values.count(1), default=1, metavar="N", help="number of the first scan, to continue a run (1)")
    add(
        "--speed",
        type=values.speed,
        default=None,
        metavar="event|real|N",
        help="without waiting, line by line at the recorded speed, or N times as fast (event)",
    )
    add(
        "--farthest-nm",
        type=values.not_negative,
        default=None,
        metavar="NM",
        help="largest distance between a requested point and the recorded loop returned for it (default: one pixel)",
    )
    add("--points-max", type=values.count(0), default=200, metavar="N", help="most loops per scan (%(default)s)")
    return parser
