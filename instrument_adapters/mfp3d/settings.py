"""Settings of an MFP-3D and their limits, which are checked here because `PV` bypasses the limits of its panels."""

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from instrument_adapters.errors import LimitError
from instrument_adapters.geometry import Finite, Frame, Positive
from instrument_adapters.mfp3d.igor_commands import quantised_rate_Hz, tip_speed_m_per_s
from instrument_adapters.protocol.messages import Id, Limits

_DEADLINE_MARGIN_S = 60.0


class LoopSettings(BaseModel):
    """Settings of the hysteresis loops.

    Parameters
    ----------
    bias_max_V
        Amplitude of the bias in volts.
    frequency_Hz, cycles
        Frequency of the bias cycle in hertz, and number of cycles in one loop.
    phase_zero_deg
        Phase in degrees of a response in phase with the drive: response = amplitude · cos(phase - phase_zero).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    bias_max_V: Positive = 8.5
    frequency_Hz: Positive = 0.12
    cycles: int = Field(default=1, ge=1)
    phase_zero_deg: Finite = 0.0

    @property
    def duration_s(self) -> float:
        """Duration of one loop in seconds."""
        return self.cycles / self.frequency_Hz


class MFP3DSettings(BaseModel):
    """Settings that the driver applies to the instrument, and their limits.

    Parameters
    ----------
    instrument_id, sample_id
        Names of instrument and sample in each scan.
    frame
        Frame to scan, in metres of the closed loop.
    scan_rate_Hz, scan_down
        Line rate in hertz (quantised by the controller), and whether the last row is recorded first.
    drive_V, centre_Hz, tone_separation_Hz
        Drive amplitude in volts, centre frequency and separation of the two tones in hertz, in DART mode.
    loop
        Settings of the hysteresis loops.
    retune_every, retune_s
        Number of loops after which the probe is tuned again, and duration of the tuning in seconds.
    limits
        Limits of stage range, bias, spacing and number of points after one scan.
    drive_max_V, speed_max_m_per_s
        Largest drive amplitude in volts and largest speed of the tip in metres per second.
    poll_s
        Time between two looks at the folder, in seconds.
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
        """Duration of a frame in seconds, at the quantised scan rate."""
        return self.frame.rows / quantised_rate_Hz(self.scan_rate_Hz, self.frame.cols)

    @property
    def frame_deadline_s(self) -> float:
        """Time in seconds after which a frame without a complete file counts as failed: 2 · lines / rate + 60 s."""
        return 2 * self.frame_s + _DEADLINE_MARGIN_S

    @property
    def loop_deadline_s(self) -> float:
        """Time in seconds after which a loop without a complete file counts as failed: 2 · duration + 60 s."""
        return 2 * self.loop.duration_s + _DEADLINE_MARGIN_S


def check_settings(settings: MFP3DSettings) -> None:
    """Raise an error if a setting exceeds the limits; called before the first command.

    Raises
    ------
    LimitError
        If one does; the message names the quantity, its value and what is allowed.
    """
    _check_range(settings.frame, settings.limits)
    speed = tip_speed_m_per_s(settings.frame.size_fast_m, quantised_rate_Hz(settings.scan_rate_Hz, settings.frame.cols))
    if speed > settings.speed_max_m_per_s:
        raise LimitError(
            f"the tip would move at {speed * 1e6:.1f} um/s, at most {settings.speed_max_m_per_s * 1e6:.1f} um/s is allowed; "
            "lower the scan rate or make the frame smaller"
        )
    for name, value, allowed in (
        ("tip bias", settings.loop.bias_max_V, settings.limits.bias_max_V),
        ("drive amplitude", settings.drive_V, settings.drive_max_V),
    ):
        if value > allowed:
            raise LimitError(f"the {name} is set to {value:g} V, at most {allowed:g} V is allowed; lower it")


def _check_range(frame: Frame, limits: Limits) -> None:
    corners = frame.to_metres(np.array([[0, 0], [0, frame.cols - 1], [frame.rows - 1, 0], [frame.rows - 1, frame.cols - 1.0]]))
    for axis, values, low, high in (
        ("x", corners[:, 0], limits.x_min_m, limits.x_max_m),
        ("y", corners[:, 1], limits.y_min_m, limits.y_max_m),
    ):
        if not (low <= values.min() and values.max() <= high):
            raise LimitError(
                f"the frame extends from {axis} = {values.min() * 1e6:.3f} to {values.max() * 1e6:.3f} um, the stage's range is "
                f"{low * 1e6:.1f} to {high * 1e6:.1f} um; move the frame or make it smaller"
            )
