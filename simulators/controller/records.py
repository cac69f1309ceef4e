"""What a simulated controller has to save: a frame with its note, and the note of a loop."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Note
from instrument_adapters.scan import Scan
from simulators.clock import EPOCH
from simulators.config import MFP3DConfig
from simulators.controller.scan_note import FIXED, scan_note, tracker_stands_at
from simulators.physics.dart import CHANNELS, Recording

_LOOP_KEYS = ("ARDoIVAmp", "ARDoIVFrequency", "ARDoIVCycles", "DriveAmplitude", "DFRTFrequencyCenter", "DFRTFrequencyWidth")
_PROBE_KEYS = ("InvOLS", "AmpInvOLS", "SpringConstant", "MicroscopeModel", "Version")


def simulated_time(at_s: float) -> datetime:
    """Time by the simulated clock, so many seconds after its start."""
    return EPOCH + timedelta(seconds=at_s)


def frame_scan(
    recording: Recording, frame: Frame, config: MFP3DConfig, *, rate_Hz: float, scan_down: bool, number: int, at_s: float
) -> Scan:
    """The frame as it goes into a file: its name is the file's number, its beginning is left to the reader.

    Parameters
    ----------
    recording, frame, config
        What was recorded, where, and with which probe.
    rate_Hz, scan_down, number
        Lines a second, the slow direction and the file's number.
    at_s
        When the frame was finished, in simulated seconds since the start.
    """
    finished_at = simulated_time(at_s)
    note = scan_note(
        frame,
        config.dart,
        scan_rate_Hz=rate_Hz,
        scan_down=scan_down,
        number=number,
        centre_Hz=tracker_stands_at(recording.channels["FrequencyRetrace"]),
        finished_at=finished_at,
    )
    return Scan(
        channels=recording.channels,
        units=CHANNELS,
        frame=frame,
        scan_id=f"{number:04d}",
        finished_at=finished_at,
        metadata=note,
    )


def loop_note(panel: Mapping[str, float]) -> Note:
    """Note of a loop's file: the bias and the probe, and nothing of the position."""
    return {key: panel[key] for key in _LOOP_KEYS} | {key: FIXED[key] for key in _PROBE_KEYS}
