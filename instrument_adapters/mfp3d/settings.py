"""What an MFP-3D is told to do, and the limits that are kept on our side because `PV` bypasses those of its panels."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from instrument_adapters.errors import LimitError
from instrument_adapters.geometry import Finite, Frame, Positive
from instrument_adapters.mfp3d.igor_commands import quantised_rate_Hz, tip_speed_m_per_s
from instrument_adapters.protocol.messages import Id, Limits

_WAIT_S = 60.0


class LoopSettings(BaseModel):
    """How hysteresis loops are measured.

    Parameters
    ----------
    bias_max_V
        Amplitude of the bias.
    frequency_Hz, cycles
        Cycles of bias a second, and how many make one loop.
    phase_zero_deg
        Phase of a response in the direction of the drive: response = amplitude · cos(phase - phase_zero).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bias_max_V: Positive = 8.5
    frequency_Hz: Positive = 0.12
    cycles: int = Field(default=1, ge=1)
    phase_zero_deg: Finite = 0.0

    @property
    def duration_s(self) -> float:
        """How long one loop takes."""
        return self.cycles / self.frequency_Hz


class MFP3DSettings(BaseModel):
    """Everything that the driver sets on the instrument, and how far it may go.

    Parameters
    ----------
    instrument_id, sample_id
        Names that scans carry.
    frame
        What is scanned, in closed-loop metres.
    scan_rate_Hz, scan_down
        Lines a second (the controller quantises it) and the slow direction.
    drive_V, centre_Hz, tone_separation_Hz
        Drive amplitude, centre frequency and distance of the two tones in DART mode.
    loop
        How loops are measured.
    retune_every, retune_s
        After so many loops the probe is tuned anew, and how long that takes.
    limits
        Range of the stage, bias, spacing of points and points after one scan.
    drive_max_V, speed_max_m_per_s
        Largest drive amplitude and fastest allowed motion of the tip.
    poll_s
        Pause between two looks at the folder.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    instrument_id: Id = Field(default="mfp3d", max_length=80)
    sample_id: Id = "sample"
    frame: Frame
    scan_rate_Hz: Positive = 0.40064
    scan_down: bool = True
    drive_V: Positive = 3.0
    centre_Hz: Positive
    tone_separation_Hz: Positive = 1e4
    loop: LoopSettings = LoopSettings()
    retune_every: int = Field(default=10, ge=1)
    retune_s: Positive = 5.0
    limits: Limits = Limits()
    drive_max_V: Positive = 3.0
    speed_max_m_per_s: Positive = 20e-6
    poll_s: Positive = 0.5

    @property
    def frame_s(self) -> float:
        """How long a frame takes at the rate that the controller makes of `scan_rate_Hz`."""
        return self.frame.rows / quantised_rate_Hz(self.scan_rate_Hz, self.frame.cols)

    @property
    def frame_deadline_s(self) -> float:
        """After so long without a complete file a frame counts as failed: 2 · lines / rate + 60 s."""
        return 2 * self.frame_s + _WAIT_S

    @property
    def loop_deadline_s(self) -> float:
        """After so long without a complete file a loop counts as failed."""
        return 2 * self.loop.duration_s + _WAIT_S


def check_settings(settings: MFP3DSettings) -> None:
    """Refuse what lies outside the limits; called before the first command.

    Raises
    ------
    LimitError
        Naming the quantity, its value and what is allowed.
    """
    _check_range(settings.frame, settings.limits)
    speed = tip_speed_m_per_s(settings.frame.size_fast_m, quantised_rate_Hz(settings.scan_rate_Hz, settings.frame.cols))
    if speed > settings.speed_max_m_per_s:
        raise LimitError(
            f"the tip would move at {speed * 1e6:.1f} um/s, {settings.speed_max_m_per_s * 1e6:.1f} um/s are allowed; "
            "lower the scan rate or make the frame smaller"
        )
    for name, value, allowed in (
        ("tip bias", settings.loop.bias_max_V, settings.limits.bias_max_V),
        ("drive amplitude", settings.drive_V, settings.drive_max_V),
    ):
        if value > allowed:
            raise LimitError(f"a {name} of {value:g} V was asked for, {allowed:g} V are allowed; lower it")


def _check_range(frame: Frame, limits: Limits) -> None:
    corners = frame.to_metres(np.array([[0, 0], [0, frame.cols - 1], [frame.rows - 1, 0], [frame.rows - 1, frame.cols - 1.0]]))
    for axis, values, low, high in (
        ("x", corners[:, 0], limits.x_min_m, limits.x_max_m),
        ("y", corners[:, 1], limits.y_min_m, limits.y_max_m),
    ):
        if not (low <= values.min() and values.max() <= high):
            raise LimitError(
                f"the frame reaches from {axis} = {values.min() * 1e6:.3f} to {values.max() * 1e6:.3f} um, the stage's range is "
                f"{low * 1e6:.1f} to {high * 1e6:.1f} um; move the frame or make it smaller"
            )
