"""`python -m simulators --connect tcp://127.0.0.1:5555`: a simulated MFP-3D as an agent's instrument."""

import os.path
import sys

if __name__ == "__main__" and not sys.flags.safe_path:  # as in agent/__main__.py, which says why
    _here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
    if sys.path[0] != _here:
        del sys.path[0]

import argparse
import contextlib
import logging
import math
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from instrument_adapters import exit_codes
from instrument_adapters.command_line import arguments as values
from instrument_adapters.command_line.agent_options import configure_logging
from instrument_adapters.command_line.key_options import add_key_options, client_keys
from instrument_adapters.command_line.output import run_command, write_text
from instrument_adapters.errors import AdapterError, plain_reason
from instrument_adapters.protocol.curve_keys import ClientKeys, KeyFileError
from simulators.clock import SimulatedClock
from simulators.config import MFP3DConfig
from simulators.errors import InvalidSettingsError, UnknownFaultError
from simulators.faults.faulty_connection import FaultyConnection
from simulators.faults.injector import MESSAGE_FAULTS, FaultInjector
from simulators.faults.options import add_fault_options, fault_schedule
from simulators.faults.sealed_log import SealedLog
from simulators.mfp3d import SimulatedMFP3D
from simulators.settings_file import DEFAULT_TIER, TIER, as_toml, load_instrument
from simulators.tiers import TIERS

_LOG = logging.getLogger("simulators")
_DEFAULTS = MFP3DConfig()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code.

    0 after the last cycle or a signal, 1 if agent or instrument failed, 2 for invalid arguments, 4 for an unusable spool.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        config = instrument_config(arguments)
        schedule = fault_schedule(arguments, config)
        if arguments.print_config:
            write_text(as_toml(config))
            return exit_codes.OK
        if arguments.connect is None:
            parser.error("--connect is required: give the address of the agent, for example tcp://127.0.0.1:5555")
        keys = client_keys(arguments)
        if keys is not None and schedule.possible & MESSAGE_FAULTS:
            parser.error("faults of messages need a connection without encryption; leave out the keys or these faults")
        log = SealedLog(arguments.sealed_log)
    except (InvalidSettingsError, UnknownFaultError, KeyFileError) as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"the sealed log {arguments.sealed_log} cannot be written: {plain_reason(error)}; give another file")
    configure_logging("text")
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(FaultyConnection(arguments.connect)) if schedule.possible and keys is None else None
        faults = FaultInjector(schedule, log=log, arm=None if link is None else link.arm)
        return _run(config, arguments, arguments.connect if link is None else link.address, faults, keys)


def _run(config: MFP3DConfig, arguments: argparse.Namespace, address: str, faults: FaultInjector, keys: ClientKeys | None) -> int:
    # Imported here, so that --help and invalid arguments do not load zmq.
    from instrument_adapters.client import run_client, stop_on_signals

    stop = threading.Event()
    stop_on_signals(stop)
    _LOG.info("growing the simulated surface of %s", config.instrument_id)
    instrument = SimulatedMFP3D(config, clock=SimulatedClock(arguments.speed, stop=stop), faults=faults)
    try:
        report = run_client(instrument, address, cycles=arguments.cycles or None, stop=stop, spool_dir=arguments.spool, keys=keys)
    except AdapterError as error:
        _LOG.error("%s", error)
        return exit_codes.for_error(error, exit_codes.FAILED)
    _LOG.info("%s has finished: %s", config.instrument_id, report)
    return exit_codes.OK


def instrument_config(arguments: argparse.Namespace) -> MFP3DConfig:
    """Configuration from the configuration file and the command line, which may set the side and the angle of the frame.

    Raises
    ------
    InvalidSettingsError
        If a value is invalid or the values are inconsistent.
    """
    size_m = None if arguments.size_um is None else arguments.size_um * 1e-6
    angle_rad = None if arguments.angle_deg is None else math.radians(arguments.angle_deg)
    pixels = arguments.pixels
    given = {name: getattr(arguments, name) for name in (TIER, "instrument_id", "seed", "first_scan", "charge_latency")}
    frame = {"size_fast_m": size_m, "size_slow_m": size_m, "angle_rad": angle_rad, "rows": pixels, "cols": pixels}
    tables = {"frame": frame, "limits": {"points_max": arguments.points_max}}
    return load_instrument(
        arguments.config, _without_none(given | {name: _without_none(table) for name, table in tables.items()})
    )


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _parser() -> argparse.ArgumentParser:
    parser = values.OneSentenceParser(
        prog="python -m simulators", description="Runs a simulated MFP-3D as an agent's instrument."
    )
    add = parser.add_argument
    add("--connect", type=values.address, metavar="ADDRESS", help="address of the agent, such as tcp://127.0.0.1:5555")
    add(
        "--config",
        type=Path,
        metavar="FILE",
        help="TOML file that sets any part of the instrument; command-line options take precedence",
    )
    add("--print-config", action="store_true", help="print the resulting configuration as a TOML file and exit")
    add("--instrument-id", metavar="NAME", help=f"name of this instrument ({_DEFAULTS.instrument_id})")
    add(
        "--cycles",
        type=values.count(0),
        default=0,
        metavar="N",
        help="number of scans; 0: until stopped (%(default)s)",
    )
    add("--seed", type=values.count(0), metavar="N", help="seed of the sample and all noise (0)")
    add("--tier", choices=tuple(TIERS), help=f"tier of the world: how hard its types are to tell apart ({DEFAULT_TIER})")
    add(
        "--speed",
        type=values.speed,
        default=None,
        metavar="event|real|N",
        help="without waiting, in real time, or N times as fast (event)",
    )
    add("--pixels", type=values.count(2, 2048), metavar="N", help="points per line and lines per frame (256)")
    add("--size-um", type=_size_um, metavar="UM", help="side of the frame in micrometres (2.5)")
    add("--angle-deg", type=values.number, metavar="DEG", help="scan angle in degrees (0)")
    add("--points-max", type=values.count(0), metavar="N", help=f"most loops per scan ({_DEFAULTS.limits.points_max})")
    add("--first-scan", type=values.count(1), metavar="N", help="number of the first scan, to continue a run (1)")
    add(
        "--no-latency",
        dest="charge_latency",
        action="store_const",
        const=False,
        help="do not count the agent's decision time as simulated time",
    )
    add("--spool", type=Path, default=None, metavar="DIR", help="folder in which unfinished work survives a crash")
    add_key_options(parser)
    add_fault_options(parser)
    return parser


def _size_um(text: str) -> float:
    value = values.number(text)
    if not 0.1 <= value <= 20:
        raise argparse.ArgumentTypeError(f"{text} um was given; 0.1 to 20 um are allowed")
    return value


if __name__ == "__main__":
    sys.exit(run_command(main))
