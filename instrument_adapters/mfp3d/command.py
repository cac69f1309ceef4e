"""`python -m instrument_adapters mfp3d --settings FILE.toml --connect tcp://127.0.0.1:5555`: a real MFP-3D, through Igor.

It was never tried on a real instrument. With `--check`, nothing is set and nothing moves: settings, paths and the way to Igor are
looked at, and the stage's calibration and position are read.
"""

import argparse
import logging
import threading
from collections.abc import Sequence
from datetime import tzinfo
from pathlib import Path

from pydantic import BaseModel, ConfigDict, field_validator

from instrument_adapters.command_line import arguments as values
from instrument_adapters.command_line.agent_options import add_connection_options, begin_to_log, work_for_agent
from instrument_adapters.command_line.key_options import client_keys
from instrument_adapters.command_line.time_zone import zone_named
from instrument_adapters.command_line.toml_settings import load_settings
from instrument_adapters.errors import AdapterError, InstrumentFaultError
from instrument_adapters.geometry import Positive
from instrument_adapters.loop_analysis import loop_numbers
from instrument_adapters.mfp3d.driver import MFP3D
from instrument_adapters.mfp3d.file_watch import listing
from instrument_adapters.mfp3d.igor_transport import IgorTransport
from instrument_adapters.mfp3d.panel import Stage
from instrument_adapters.mfp3d.settings import MFP3DSettings, check_settings

_LOG = logging.getLogger(__name__)
_UNTRIED = "It was NEVER tried on a real instrument: begin with --check and the first hour of docs/mfp3d.md."


class IgorSettings(BaseModel):
    """The way to Igor on this computer.

    Parameters
    ----------
    program
        `Igor.exe` of the instrument's software.
    saves_to
        The folder that the software saves to.
    workspace
        A folder for commands and answers; it is made.
    deadline_s
        How long a command or an answer may take.
    zone
        Zone of the instrument's clock: local, UTC, +02:00, Europe/Berlin.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: Path
    saves_to: Path
    workspace: Path
    deadline_s: Positive = 10.0
    zone: str = "local"

    @field_validator("zone")
    @classmethod
    def _known(cls, value: str) -> str:
        zone_named(value)
        return value

    @property
    def clock_zone(self) -> tzinfo:
        """The zone."""
        return zone_named(self.zone)


class MFP3DFile(BaseModel):
    """A settings file: `[igor]`, how to reach the instrument, and `[mfp3d]`, what it is told to do."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    igor: IgorSettings
    mfp3d: MFP3DSettings


def main(argv: Sequence[str]) -> int:
    """Exit code: 0 when all is well or after a signal, 1 if the instrument cannot be used or gave up, 2 for bad input."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    begin_to_log(arguments.log_format)
    try:
        file = load_settings(arguments.settings, MFP3DFile)
        settings = file.mfp3d
        if arguments.instrument_id is not None:
            settings = settings.model_copy(update={"instrument_id": arguments.instrument_id})
        check_settings(settings)
        keys = client_keys(arguments)
    except AdapterError as error:
        parser.error(str(error))
    if not arguments.check and arguments.connect is None:
        parser.error("the following arguments are required: --connect (or --check)")
    _LOG.warning("driving an MFP-3D was never tried on a real instrument; stay with it, and keep the tip in sight")
    try:
        transport = reach(file.igor)
        if arguments.check:
            _LOG.info("%s", check(settings, transport))
            return 0
        instrument = MFP3D(settings, transport, analyse=loop_numbers, zone=file.igor.clock_zone)
    except AdapterError as error:
        _LOG.error("%s", error)
        return 1
    return work_for_agent(
        instrument,
        arguments.connect,
        cycles=arguments.cycles or None,
        stop=threading.Event(),
        spool=arguments.spool,
        keys=keys,
    )


def reach(igor: IgorSettings) -> IgorTransport:
    """The way to Igor, once everything that it needs is there.

    Raises
    ------
    InstrumentFaultError
        Naming the program or folder that is missing.
    """
    if not igor.program.is_file():
        raise InstrumentFaultError(f"there is no program {igor.program}; give the path of Igor.exe as igor.program")
    listing(igor.saves_to)
    try:
        return IgorTransport(igor.program, igor.saves_to, igor.workspace, deadline_s=igor.deadline_s)
    except OSError as error:
        raise InstrumentFaultError(f"igor.workspace {igor.workspace} cannot be used ({error.strerror}); give another") from error


def check(settings: MFP3DSettings, transport: IgorTransport) -> str:
    """One sentence on what answers there; nothing is set and nothing moves.

    Raises
    ------
    InstrumentFaultError
        If Igor does not answer, or knows no calibration of the stage.
    """
    x_m, y_m = Stage(settings, transport).position_m()
    files = len(listing(transport.folder))
    return (
        f"settings are allowed and Igor answers: the tip is at ({x_m * 1e6:.3f}, {y_m * 1e6:.3f}) um, {files} .ibw "
        f"files are in {transport.folder}; a frame would take {settings.frame_s:.0f} s, a loop {settings.loop.duration_s:.1f} s"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vaestar adapter mfp3d", description="Drives an Asylum MFP-3D through Igor for an agent.", epilog=_UNTRIED
    )
    add = parser.add_argument
    add("--settings", type=Path, required=True, metavar="FILE", help="TOML file with [igor] and [mfp3d]; see docs/mfp3d.md")
    add_connection_options(parser, None, connect_required=False)
    add("--instrument-id", type=values.name, default=None, metavar="NAME", help="name of this instrument (default: the file's)")
    add("--cycles", type=values.count(0), default=0, metavar="N", help="scans to follow up; 0: until stopped (%(default)s)")
    add("--check", action="store_true", help="look at settings and the way to Igor, read the position, and end; nothing moves")
    return parser
