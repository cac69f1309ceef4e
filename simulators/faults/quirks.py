"""What is wrong with the controller and its files at the moment, apart from physics; a fault schedule sets and clears it."""

from collections.abc import Callable
from dataclasses import dataclass

from instrument_adapters.scan import Scan


@dataclass
class Quirks:
    """Nothing is wrong by default.

    Parameters
    ----------
    frozen_position
        Whether the position that is read back stays what it was.
    silent_clamp
        Whether a target beyond the range of the stage is moved to its edge without a word; otherwise it is rejected.
    half_range_m
        The stage reaches from minus this to this along x and y; a worn or obstructed one reaches less far.
    altered
        What a frame looks like once it is saved (wrong units, swapped labels, NaN lines).
    spoiled
        Of the bytes of a file, those that reach the disk.
    saving_s
        How long a file stays incomplete after its frame was finished, in simulated seconds.
    stale
        Whether a finished frame is not saved at all, so that the newest file shows the frame before it.
    repeated_id
        Whether the next frame carries the scan_id of the one before it.
    """

    frozen_position: bool = False
    silent_clamp: bool = False
    half_range_m: float = 45e-6
    altered: Callable[[Scan], Scan] | None = None
    spoiled: Callable[[bytes], bytes] | None = None
    saving_s: float = 0.0
    stale: bool = False
    repeated_id: bool = False
