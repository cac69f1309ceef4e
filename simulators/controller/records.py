"""Records that a simulated controller saves: a frame with its note, and the note of a loop."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Note
from instrument_adapters.scan import Scan
from simulators.clock import EPOCH
from simulators.config import MFP3DConfig
from simulators.controller.scan_note import FIXED_ENTRIES, scan_note, tracked_centre_Hz
from simulators.physics.dart import CHANNELS, DartRecording

_LOOP_KEYS = ("ARDoIVAmp", "ARDoIVFrequency", "ARDoIVCycles", "DriveAmplitude", "DFRTFrequencyCenter", "DFRTFrequencyWidth")
_PROBE_KEYS = ("InvOLS", "AmpInvOLS", "SpringConstant", "MicroscopeModel", "Version")


def simulated_time(at_s: float) -> datetime:
    """Time by the simulated clock `at_s` seconds after its start."""
    return EPOCH + timedelta(seconds=at_s)


def frame_scan(
    recording: DartRecording, frame: Frame, config: MFP3DConfig, *, rate_Hz: float, scan_down: bool, number: int, at_s: float
) -> Scan:
    """The frame as it is saved: its id is the file's number, its start time is computed by the reader.

    Parameters
    ----------
    recording, frame, config
        Recorded images, their frame, and the configuration of the instrument.
    rate_Hz, scan_down, number
        Line rate, slow direction and number of the file.
    at_s
        Simulated time at which the frame was finished, in seconds since the start.
    """
    finished_at = simulated_time(at_s)
    note = scan_note(
        frame,
        config.dart,
        scan_rate_Hz=rate_Hz,
        scan_down=scan_down,
        number=number,
        centre_Hz=tracked_centre_Hz(recording.channels["FrequencyRetrace"]),
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
    """Note of a loop's file: bias and probe, but not the position."""
    return {key: panel[key] for key in _LOOP_KEYS} | {key: FIXED_ENTRIES[key] for key in _PROBE_KEYS}
