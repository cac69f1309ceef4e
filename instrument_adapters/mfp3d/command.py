"""`python -m instrument_adapters mfp3d --settings FILE.toml --connect tcp://127.0.0.1:5555`: a real MFP-3D, through Igor.

It was never tested on a real instrument. With `--check` nothing is set and nothing moves: the command checks settings, paths and
the connection to Igor, and reads the stage's calibration and position.
"""

import argparse
import logging
import threading
from collections.abc import Sequence
from datetime import tzinfo
from pathlib import Path

from pydantic import BaseModel, ConfigDict, field_validator

from instrument_adapters.command_line import arguments as values
from instrument_adapters.command_line.agent_options import add_connection_options, configure_logging, run_for_agent
from instrument_adapters.command_line.key_options import client_keys
from instrument_adapters.command_line.time_zone import parse_time_zone
from instrument_adapters.command_line.toml_settings import load_settings
from instrument_adapters.errors import AdapterError, InstrumentFaultError
from instrument_adapters.geometry import Positive
from instrument_adapters.loop_analysis import loop_parameters
from instrument_adapters.mfp3d.driver import MFP3D
from instrument_adapters.mfp3d.file_watch import listing
from instrument_adapters.mfp3d.igor_transport import IgorTransport
from instrument_adapters.mfp3d.panel import Stage
from instrument_adapters.mfp3d.settings import MFP3DSettings, check_settings

_LOG = logging.getLogger(__name__)
_UNTRIED = "This was NEVER tried on a real instrument: begin with --check and the steps for the first hour in docs/mfp3d.md."


class IgorSettings(BaseModel):
    """Settings of the connection to Igor on this computer.

    Parameters
    ----------
    program
        Path of the instrument software's `Igor.exe`.
    saves_to
        Folder to which the software saves its files.
    workspace
        Folder for commands and answers; created if missing.
    deadline_s
        Longest time for a command or an answer, in seconds.
    zone
        Time zone of the instrument's clock: local, UTC, +02:00, Europe/Berlin.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: Path
    saves_to: Path
    workspace: Path
    deadline_s: Positive = 10.0
    zone: str = "local"

    @field_validator("zone")
    @classmethod
    def _check_zone(cls, value: str) -> str:
        parse_time_zone(value)
        return value

    @property
    def clock_zone(self) -> tzinfo:
        """Time zone of the instrument's clock."""
        return parse_time_zone(self.zone)


class MFP3DFile(BaseModel):
    """A settings file: `[igor]` for the connection to the instrument, `[mfp3d]` for what is set on it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    igor: IgorSettings
    mfp3d: MFP3DSettings


def main(argv: Sequence[str]) -> int:
    """Run the command and return its exit code.

    0 after a successful check, the last cycle or a signal, 1 if the instrument or the agent failed, 2 for invalid arguments.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    configure_logging(arguments.log_format)
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
    _LOG.warning("this driver was never tried on a real MFP-3D; stay at the instrument and watch the tip")
    try:
        transport = connect(file.igor)
        if arguments.check:
            _LOG.info("%s", check_connection(settings, transport))
            return 0
        instrument = MFP3D(settings, transport, analyse=loop_parameters, zone=file.igor.clock_zone)
    except AdapterError as error:
        _LOG.error("%s", error)
        return 1
    return run_for_agent(
        instrument,
        arguments.connect,
        cycles=arguments.cycles or None,
        stop=threading.Event(),
        spool=arguments.spool,
        keys=keys,
    )


def connect(igor: IgorSettings) -> IgorTransport:
    """The transport to Igor, after checking that the program and the folders exist.

    Raises
    ------
    InstrumentFaultError
        If the program or a folder is missing; the message names it.
    """
    if not igor.program.is_file():
        raise InstrumentFaultError(f"there is no program {igor.program}; give the path of Igor.exe as igor.program")
    listing(igor.saves_to)
    try:
        return IgorTransport(igor.program, igor.saves_to, igor.workspace, deadline_s=igor.deadline_s)
    except OSError as error:
        raise InstrumentFaultError(
            f"the folder {igor.workspace} cannot be used ({error.strerror}); give another one as igor.workspace"
        ) from error


def check_connection(settings: MFP3DSettings, transport: IgorTransport) -> str:
    """Report on settings and connection in one sentence; nothing is set and nothing moves.

    Raises
    ------
    InstrumentFaultError
        If Igor does not answer, or has no calibration of the stage.
    """
    x_m, y_m = Stage(settings, transport).position_m()
    files = len(listing(transport.folder))
    return (
        f"the settings are valid and Igor answers: the tip is at ({x_m * 1e6:.3f}, {y_m * 1e6:.3f}) um, {transport.folder} "
        f"holds {files} .ibw files; a frame will take {settings.frame_s:.0f} s, a loop {settings.loop.duration_s:.1f} s"
    )


def _parser() -> argparse.ArgumentParser:
    parser = values.OneSentenceParser(
        prog="vaestar adapter mfp3d", description="Drives an Asylum MFP-3D through Igor for an agent.", epilog=_UNTRIED
    )
    add = parser.add_argument
    add("--settings", type=Path, required=True, metavar="FILE", help="TOML file with [igor] and [mfp3d]; see docs/mfp3d.md")
    add_connection_options(parser, None, connect_required=False)
    add("--instrument-id", type=values.name, default=None, metavar="NAME", help="name of this instrument (default: from FILE)")
    add("--cycles", type=values.count(0), default=0, metavar="N", help="number of scans; 0: until stopped (%(default)s)")
    add("--check", action="store_true", help="check settings and connection, read the position, and exit; nothing moves")
    return parser
