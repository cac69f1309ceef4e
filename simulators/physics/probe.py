"""The probe's condition: what it is like when a frame begins, and what befalls it line by line."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex, Float


@dataclass(frozen=True)
class Probe:
    """What lasts from one frame to the next; the default is a fresh probe.

    Parameters
    ----------
    gain
        Factor of the electromechanical response.
    blunting
        Factor of the tip's spot size.
    resonance_shift_Hz
        Added to the contact resonance.
    contact
        Whether it can touch the sample at all; a broken tip cannot.
    """

    gain: float = 1.0
    blunting: float = 1.0
    resonance_shift_Hz: float = 0.0
    contact: bool = True


@dataclass(frozen=True, eq=False)
class LineStates:
    """The probe's condition on each line of one frame, in the order of recording.

    Parameters
    ----------
    gain, blunting, resonance_shift_Hz
        As in `Probe`.
    locked
        Whether the tracker follows the resonance; while it does not, the tones stay where they are.
    contact
        Whether the tip touches the sample; without contact there is no response, only noise.
    contamination
        Complex response of what sticks to the tip, added to the sample's.
    shift_m
        By how much the line lies beside its place, along (x, y): skipped or shifted lines.
    """

    gain: Float[np.ndarray, " lines"]
    blunting: Float[np.ndarray, " lines"]
    resonance_shift_Hz: Float[np.ndarray, " lines"]
    locked: Bool[np.ndarray, " lines"]
    contact: Bool[np.ndarray, " lines"]
    contamination: Complex[np.ndarray, " lines"]
    shift_m: Float[np.ndarray, "lines 2"]

    @classmethod
    def steady(cls, probe: Probe, lines: int) -> "LineStates":
        """The same condition on all lines."""
        return cls(
            gain=np.full(lines, probe.gain),
            blunting=np.full(lines, probe.blunting),
            resonance_shift_Hz=np.full(lines, probe.resonance_shift_Hz),
            locked=np.ones(lines, bool),
            contact=np.full(lines, probe.contact),
            contamination=np.zeros(lines, complex),
            shift_m=np.zeros((lines, 2)),
        )

    def last(self) -> Probe:
        """The probe after the frame."""
        return Probe(
            gain=float(self.gain[-1]),
            blunting=float(self.blunting[-1]),
            resonance_shift_Hz=float(self.resonance_shift_Hz[-1]),
            contact=bool(self.contact[-1]),
        )
