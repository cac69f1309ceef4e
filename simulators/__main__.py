"""`python -m simulators --connect tcp://127.0.0.1:5555`: a simulated MFP-3D that works for an agent."""

import argparse
import contextlib
import logging
import math
import re
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError

from instrument_adapters.errors import AdapterError
from instrument_adapters.geometry import Frame
from instrument_adapters.messages import Limits
from simulators.clock import SimulatedClock
from simulators.config import MFP3DConfig
from simulators.errors import UnknownFaultError
from simulators.faults_at_work import Faults
from simulators.faults_log import SealedLog
from simulators.faults_options import add_fault_options, fault_schedule
from simulators.faulty_link import FaultyLink
from simulators.mfp3d import SimulatedMFP3D
from simulators.surface import SurfaceConfig
from simulators.tiers import TIERS, tier

_LOG = logging.getLogger("simulators")
_DEFAULTS = MFP3DConfig()
_MARGIN = 1.2  # side of the surface over that of the frame


def main(argv: Sequence[str] | None = None) -> int:
    """Exit code: 0 when the cycles are done or after a signal, 1 if agent or instrument gave up, 2 for bad input."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        config = instrument_config(arguments)
        schedule = fault_schedule(arguments, config)
        log = SealedLog(arguments.sealed_log)
    except ValidationError as error:
        parser.error("; ".join(problem["msg"] for problem in error.errors()))
    except (UnknownFaultError, OSError) as error:
        parser.error(str(error))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    with contextlib.ExitStack() as stack:
        link = stack.enter_context(FaultyLink(arguments.connect)) if schedule.possible else None
        faults = Faults(schedule, log=log, arm=None if link is None else link.arm)
        return _run(config, arguments, arguments.connect if link is None else link.address, faults)


def _run(config: MFP3DConfig, arguments: argparse.Namespace, address: str, faults: Faults) -> int:
    # Here, so that bad input is reported and --help shown without loading zmq.
    from instrument_adapters.client import run_client, stop_on_signals

    stop = threading.Event()
    stop_on_signals(stop)
    _LOG.info("growing the simulated surface of %s", config.instrument_id)
    instrument = SimulatedMFP3D(config, clock=SimulatedClock(arguments.speed, stop=stop), faults=faults)
    try:
        report = run_client(instrument, address, cycles=arguments.cycles or None, stop=stop, spool_dir=arguments.spool)
    except AdapterError as error:
        _LOG.error("%s", error)
        return 1
    _LOG.info("%s is done: %s", config.instrument_id, report)
    return 0


def instrument_config(arguments: argparse.Namespace) -> MFP3DConfig:
    """The instrument that the command line asks for.

    Raises
    ------
    pydantic.ValidationError
        If the values do not go together.
    """
    size_m = arguments.size_um * 1e-6
    frame = Frame(
        size_fast_m=size_m,
        size_slow_m=size_m,
        x_offset_m=_DEFAULTS.frame.x_offset_m,
        y_offset_m=_DEFAULTS.frame.y_offset_m,
        angle_rad=math.radians(arguments.angle_deg),
        rows=arguments.pixels,
        cols=arguments.pixels,
    )
    world = tier(arguments.tier, arguments.seed)
    turned = abs(math.cos(frame.angle_rad)) + abs(math.sin(frame.angle_rad))
    return MFP3DConfig(
        instrument_id=arguments.instrument_id,
        seed=arguments.seed,
        first_scan=arguments.first_scan,
        frame=frame,
        charge_latency=not arguments.no_latency,
        surface=_large_enough(world.surface, _MARGIN * turned * size_m),
        dart=world.dart,
        motion=world.motion,
        spectroscopy=world.spectroscopy,
        limits=Limits(points_max=arguments.points_max),
    )


def _large_enough(surface: SurfaceConfig, side_m: float) -> SurfaceConfig:
    return SurfaceConfig.model_validate(surface.model_dump() | {"size_m": max(surface.size_m, side_m)})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m simulators", description="A simulated MFP-3D that works for an agent.")
    add = parser.add_argument
    add("--connect", type=_address, required=True, metavar="ADDRESS", help="where the agent listens, as tcp://127.0.0.1:5555")
    add("--instrument-id", default=_DEFAULTS.instrument_id, metavar="NAME", help="name of this instrument (%(default)s)")
    add("--cycles", type=_count(0), default=0, metavar="N", help="scans to take and follow up; 0: until stopped (%(default)s)")
    add("--seed", type=_count(0), default=0, metavar="N", help="fixes the sample and all noise (%(default)s)")
    add(
        "--tier",
        choices=tuple(TIERS),
        default="easy",
        help="how hard the types are to tell apart, or the only type (%(default)s)",
    )
    add(
        "--speed",
        type=_speed,
        default=None,
        metavar="event|real|N",
        help="wait for nothing, in real time or N times faster (event)",
    )
    add("--pixels", type=_count(2, 2048), default=256, metavar="N", help="points of a line and lines of a frame (%(default)s)")
    add("--size-um", type=_size_um, default=2.5, metavar="UM", help="side of the frame in micrometres (%(default)s)")
    add("--angle-deg", type=_number, default=0.0, metavar="DEG", help="scan angle in degrees (%(default)s)")
    add("--points-max", type=_count(0), default=_DEFAULTS.limits.points_max, metavar="N", help="loops a scan (%(default)s)")
    add("--first-scan", type=_count(1), default=1, metavar="N", help="number of the first scan, for going on later (%(default)s)")
    add("--no-latency", action="store_true", help="do not count the agent's thinking as simulated time")
    add("--spool", type=Path, default=None, metavar="DIR", help="where unfinished work survives a crash")
    add_fault_options(parser)
    return parser


def _address(text: str) -> str:
    if not re.fullmatch(r"tcp://[^\s:/]+:\d{1,5}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no address; give one such as tcp://127.0.0.1:5555")
    return text


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"{text!r} is not a finite number; give one such as 2.5")
    return value


def _size_um(text: str) -> float:
    value = _number(text)
    if not 0.1 <= value <= 20:
        raise argparse.ArgumentTypeError(f"{text} um was given; 0.1 to 20 um are allowed")
    return value


def _speed(text: str) -> float | None:
    if text == "event":
        return None
    value = 1.0 if text == "real" else _number(text)
    if value <= 0:
        raise argparse.ArgumentTypeError(f"a speed of {text} was given; give 'event', 'real' or a factor above 0")
    return value


def _count(low: int, high: int | None = None) -> Callable[[str], int]:
    """What turns text into a whole number from `low` to `high`."""
    allowed = f"from {low} on" if high is None else f"from {low} to {high}"

    def whole(text: str) -> int:
        value = int(text) if re.fullmatch(r"-?\d{1,9}", text) else None
        if value is None or value < low or (high is not None and value > high):
            raise argparse.ArgumentTypeError(f"{text!r} was given; a whole number {allowed} is allowed")
        return value

    return whole


if __name__ == "__main__":
    sys.exit(main())
