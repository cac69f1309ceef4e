"""Condition of the probe: at the beginning of a frame, and on each of its lines."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex, Float


@dataclass(frozen=True)
class Probe:
    """Condition of the probe between frames; the default is a fresh probe.

    Parameters
    ----------
    gain
        Factor of the electromechanical response.
    blunting
        Factor of the tip's spot size.
    resonance_shift_Hz
        Shift of the contact resonance.
    contact
        Whether the tip can touch the sample; a broken tip cannot.
    """

    gain: float = 1.0
    blunting: float = 1.0
    resonance_shift_Hz: float = 0.0
    contact: bool = True


@dataclass(frozen=True, eq=False)
class LineStates:
    """Condition of the probe on each line of one frame, in the order of recording.

    Parameters
    ----------
    gain, blunting, resonance_shift_Hz
        The same quantities as in `Probe`, for each line.
    locked
        Whether the tracker follows the resonance; if not, the tones do not move.
    contact
        Whether the tip touches the sample; without contact there is only noise.
    contamination
        Complex response of dirt on the tip, which is added to that of the sample.
    shift_m
        Displacement (x, y) of the line in metres, for skipped or shifted lines.
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
        """Condition of the probe after the frame."""
        return Probe(
            gain=float(self.gain[-1]),
            blunting=float(self.blunting[-1]),
            resonance_shift_Hz=float(self.resonance_shift_Hz[-1]),
            contact=bool(self.contact[-1]),
        )
