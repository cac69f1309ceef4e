"""The note that an MFP-3D saves with a frame, with the keys of a real file (scan_0001.ibw)."""

import math
from datetime import UTC, datetime

import numpy as np

from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Note
from simulators.physics.dart import CHANNELS, DartConfig

_IGOR_EPOCH = datetime(1904, 1, 1, tzinfo=UTC)

# Entries that do not change from frame to frame, taken from that file; the simulated physics does not use them.
FIXED_ENTRIES: Note = {
    "ImagingMode": "PFM Mode",
    "ScanMode": "Closed Loop",
    "NapMode": "Off",
    "MaxScanSize": 9e-5,
    "DFRTOn": 1.0,
    "DARTIGain": 1000.0,
    "InvOLS": 1.2266e-07,
    "AmpInvOLS": 1.337e-07,
    "SpringConstant": 3.0542,
    "XLVDTSens": 7.9727e-06,
    "YLVDTSens": 8.1073e-06,
    "XLVDTOffset": 0.21,
    "YLVDTOffset": -1.16,
    "MicroscopeModel": "MFP3D",
    "Version": "15.09.112",
    "BaseName": "simulated",
}


def scan_note(
    frame: Frame, dart: DartConfig, *, scan_rate_Hz: float, scan_down: bool, number: int, centre_Hz: float, finished_at: datetime
) -> Note:
    """Note of one frame: angles in degrees, lengths in metres, `Seconds` since 1904.

    Parameters
    ----------
    frame, dart
        Scanned frame, and settings of probe and electronics.
    scan_rate_Hz, scan_down, number
        Line rate, slow direction and number of the frame.
    centre_Hz
        Centre frequency of the tracker in hertz.
    finished_at
        Time of saving.
    """
    half = dart.tone_separation_Hz / 2
    size = max(frame.size_fast_m, frame.size_slow_m)
    changing: Note = {
        "ScanSize": size,
        "FastScanSize": frame.size_fast_m,
        "SlowScanSize": frame.size_slow_m,
        "FastRatio": frame.size_fast_m / size,
        "SlowRatio": frame.size_slow_m / size,
        "ScanRate": scan_rate_Hz,
        "XOffset": frame.x_offset_m,
        "YOffset": frame.y_offset_m,
        "ScanAngle": math.degrees(frame.angle_rad),
        "ScanPoints": float(frame.cols),
        "ScanLines": float(frame.rows),
        "PointsLines": float(max(frame.rows, frame.cols)),
        "TopLine": float(frame.rows - 1),
        "BottomLine": 0.0,
        "ScanDown": float(scan_down),
        "DriveAmplitude": dart.drive_V,
        "DriveAmplitude1": dart.drive_V,
        "DriveFrequency": centre_Hz - half,
        "DriveFrequency1": centre_Hz + half,
        "DFRTFrequencyCenter": centre_Hz,
        "DFRTFrequencyWidth": dart.tone_separation_Hz,
        "PhaseOffset": dart.phase_offset_deg,
        "PhaseOffset1": dart.phase_offset_deg,
        "BaseSuffix": float(number),
        "Date": f"{finished_at:%Y-%m-%d}",
        "Time": f"{finished_at:%H:%M:%S}",
        "Seconds": (finished_at - _IGOR_EPOCH).total_seconds(),
    }
    recorded = {f"Channel{n}DataType": name.removesuffix("Retrace") for n, name in enumerate(CHANNELS, start=1)}
    return {**FIXED_ENTRIES, **changing, **recorded}


def tracked_centre_Hz(frequency_Hz: np.ndarray) -> float:
    """Centre frequency in hertz that the note of a frame states: the median of its frequency channel."""
    return float(np.median(frequency_Hz))
