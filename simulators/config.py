"""Configuration of a simulated MFP-3D, and the checks of its consistency."""

import numpy as np
from pydantic import Field, model_validator

from instrument_adapters.geometry import Frame, Positive
from instrument_adapters.protocol.messages import Id, Limits
from simulators.physics.dart import DartConfig
from simulators.physics.motion import MotionConfig
from simulators.physics.spectroscopy import SpectroscopyConfig
from simulators.sample.surface import SurfaceConfig
from simulators.settings import NonNegative, Settings

_OVERSCAN = 1.25  # length of a line over the length of the frame
_FRAME = Frame(size_fast_m=2.5e-6, size_slow_m=2.5e-6, x_offset_m=-2.6e-6, y_offset_m=-6.1e-6, rows=256, cols=256)


class TimingConfig(Settings):
    """Durations of the instrument's actions, in simulated seconds.

    Parameters
    ----------
    scan_rate_Hz
        Line rate in hertz; 0.40064 was recorded on a real instrument, where a frame of 256 lines takes 639 s.
    command_s
        Duration of a command to the controller, and of reading a value.
    loop_s
        Duration of one loop. With the commands that move the tip, the wait for the file and the check that it is complete, a
        point takes 10 s.
    retune_every, retune_s
        Number of loops after which the probe is tuned again, and duration of the tuning.
    speed_max_m_per_s
        Largest speed of the tip.
    """

    scan_rate_Hz: Positive = 0.40064
    command_s: NonNegative = 0.35
    loop_s: Positive = 8.1
    retune_every: int = Field(default=10, ge=1)
    retune_s: Positive = 5.0
    speed_max_m_per_s: Positive = 20e-6


class MFP3DConfig(Settings):
    """Configuration of a simulated MFP-3D and its sample.

    Parameters
    ----------
    instrument_id, sample_id
        Names of instrument and sample in each scan.
    seed
        Seed of the sample, the drift and all noise.
    first_scan
        Number of the first scan; increase it to continue with the same instrument_id after a restart, since scan ids are never
        reused.
    frame
        Frame to scan. The offsets of the default are not zero, so that errors of orientation show.
    scan_down
        Whether frames are recorded from the last row to the first.
    file_traps
        Whether files have the oddities of real ones (see `file_traps.py`).
    charge_latency
        Whether the wall time between two calls, in which the agent decides, counts as simulated time. If it does not, an
        event-driven run depends only on the seed.
    surface, dart, spectroscopy, motion, timing
        Settings of the sample and of the parts of the instrument.
    limits
        Limits of stage, bias and points.
    """

    instrument_id: Id = Field(default="mfp3d-sim", max_length=80)
    sample_id: Id = "pbtio3-sim"
    seed: int = Field(default=0, ge=0)
    first_scan: int = Field(default=1, ge=1)
    frame: Frame = _FRAME
    scan_down: bool = True
    file_traps: bool = False
    charge_latency: bool = True
    surface: SurfaceConfig = SurfaceConfig()
    dart: DartConfig = DartConfig()
    spectroscopy: SpectroscopyConfig = SpectroscopyConfig()
    motion: MotionConfig = MotionConfig()
    timing: TimingConfig = TimingConfig()
    limits: Limits = Limits()

    @model_validator(mode="after")
    def _check_limits(self) -> "MFP3DConfig":
        corners = self._corners()
        if not self.surface.square.contains(corners).all():
            raise ValueError(
                f"the frame extends beyond the simulated surface, a square of {self.surface.size_m * 1e6:g} um around "
                f"({self.surface.centre_x_m * 1e6:g}, {self.surface.centre_y_m * 1e6:g}) um; enlarge the surface or move "
                "the frame"
            )
        low, high = (self.limits.x_min_m, self.limits.y_min_m), (self.limits.x_max_m, self.limits.y_max_m)
        if not ((corners >= low) & (corners <= high)).all():
            raise ValueError("the frame extends beyond the stage's range in `limits`; move the frame or make it smaller")
        self._check_speed_and_bias()
        return self

    def _check_speed_and_bias(self) -> None:
        speed = 2 * _OVERSCAN * self.frame.size_fast_m * self.timing.scan_rate_Hz
        if speed > self.timing.speed_max_m_per_s:
            raise ValueError(
                f"the tip would move at {speed * 1e6:.1f} um/s, at most {self.timing.speed_max_m_per_s * 1e6:.1f} um/s is "
                "allowed; lower the scan rate or make the frame smaller"
            )
        if self.spectroscopy.bias_max_V > self.limits.bias_max_V:
            raise ValueError(
                f"the bias of loops is {self.spectroscopy.bias_max_V:g} V, the limit is {self.limits.bias_max_V:g} V; "
                "lower the bias"
            )

    def _corners(self) -> np.ndarray:
        last_row, last_col = self.frame.rows - 1.0, self.frame.cols - 1.0
        return self.frame.to_metres(np.array([[0.0, 0.0], [0.0, last_col], [last_row, 0.0], [last_row, last_col]]))
