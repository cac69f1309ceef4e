"""Misbehaviour of the controller and its files, as opposed to the physics; set and cleared by the fault injector."""

from collections.abc import Callable
from dataclasses import dataclass

from instrument_adapters.scan import Scan


@dataclass
class Quirks:
    """Present misbehaviour; there is none by default.

    Parameters
    ----------
    frozen_position
        Whether the position that is read back does not change.
    silent_clamp
        Whether a target beyond the range of the stage is clamped to it without an error; otherwise it is rejected.
    half_range_m
        Range of the stage, from -half_range_m to half_range_m along x and y; that of a worn or obstructed stage is smaller.
    altered
        Change made to a frame when it is saved (wrong units, swapped labels, NaN lines).
    spoiled
        Change made to the bytes of a file before they reach the disk.
    saving_s
        Time for which a file stays incomplete after its frame was finished, in simulated seconds.
    stale
        Whether a finished frame is not saved, so that the newest file shows the previous frame.
    repeated_id
        Whether the next frame has the scan_id of the previous one.
    """

    frozen_position: bool = False
    silent_clamp: bool = False
    half_range_m: float = 45e-6
    altered: Callable[[Scan], Scan] | None = None
    spoiled: Callable[[bytes], bytes] | None = None
    saving_s: float = 0.0
    stale: bool = False
    repeated_id: bool = False
