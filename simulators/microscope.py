"""The physics of the simulated microscope: sample, probe, drifting stage and clock. Everything in this module is sealed truth."""

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.geometry import Frame
from simulators.clock import SimulatedClock
from simulators.config import MFP3DConfig
from simulators.errors import InterruptedWaitError
from simulators.faults.injector import FaultInjector
from simulators.physics.dart import DartRecording, record_frame
from simulators.physics.motion import Drift, StageMotion
from simulators.physics.probe import Probe
from simulators.physics.spectroscopy import SPOT_STATE, Loop, record_loop
from simulators.physics.wear import draw_wear, initial_probe
from simulators.sample.growth import grow_surface
from simulators.sample.surface import Surface


class Microscope:
    """Sample, probe, stage and clock, without limits, commands or files.

    Parameters
    ----------
    config
        Configuration of instrument and sample.
    clock
        Clock that is advanced by everything that takes time.
    surface
        Sample grown earlier from the same `config.surface`; by default one is grown from the seed.
    faults
        Injector of scheduled faults, used by this microscope only; by default there are none.

    Attributes
    ----------
    probe
        Present condition of the probe.

    Raises
    ------
    ValueError
        If the given surface was grown from another configuration.
    """

    def __init__(
        self, config: MFP3DConfig, clock: SimulatedClock, surface: Surface | None = None, faults: FaultInjector | None = None
    ) -> None:
        if surface is not None and surface.config != config.surface:
            raise ValueError("the surface was grown from another configuration than config.surface; give matching ones")
        seeds = np.random.SeedSequence(config.seed).spawn(5)
        growth_rng, drift_rng, scan_rng, loop_rng, wear_rng = (np.random.default_rng(seed) for seed in seeds)
        self.config, self.clock = config, clock
        self.surface = surface or grow_surface(config.surface, growth_rng)
        self.probe = initial_probe(config.dart.wear, wear_rng)
        self._stage = StageMotion(Drift.random(config.motion, drift_rng))
        self._scan_rng, self._loop_rng, self._wear_rng = scan_rng, loop_rng, wear_rng
        self._faults = faults or FaultInjector()
        self._faults.begin(clock, config.frame)
        self._frames = 0
        self.last_loop_m: tuple[float, float] | None = None

    def record(self, frame: Frame, *, scan_rate_Hz: float, scan_down: bool, wait: bool = True) -> DartRecording:
        """Record a frame that begins now and takes rows / rate of simulated time.

        With `wait=False` the caller advances the clock.

        Raises
        ------
        InstrumentFaultError
            If the clock was stopped during the scan; the frame is lost.
        """
        self._frames += 1
        lines = draw_wear(self.probe, frame.rows, self.config.dart.wear, self._wear_rng)
        self.surface = self._faults.before_frame(
            self.surface,
            lines,
            frame,
            number=self.config.first_scan + self._frames - 1,
            since_start=self._frames,
            scan_down=scan_down,
            line_s=1 / scan_rate_Hz,
        )
        self._stage.go_to(frame.x_offset_m, frame.y_offset_m, self.clock.elapsed_s)
        recording = record_frame(
            self.surface,
            frame,
            self.config.dart,
            displacement_m=self._stage.displacement_m,
            jitter_m=self.config.motion.jitter_m,
            started_s=self.clock.elapsed_s,
            line_s=1 / scan_rate_Hz,
            scan_down=scan_down,
            rng=self._scan_rng,
            states=lines,
        )
        if wait:
            self._wait_for_lines(frame.rows, 1 / scan_rate_Hz)
        self.probe = lines.last()
        return recording

    def loop_at(self, x_m: float, y_m: float, *, wait: bool = True) -> Loop:
        """Record a hysteresis loop at the commanded position (x, y), which writes a spot on the sample.

        With `wait=False` the caller advances the clock.
        """
        self.surface = self._faults.before_point(self.surface)
        self._stage.go_to(x_m, y_m, self.clock.elapsed_s)
        true_xy = self.true_position(np.array([[x_m, y_m]]))
        true_xy += self.config.motion.repeatability_m * self._loop_rng.standard_normal(true_xy.shape)
        loop = self._as_detected(record_loop(self.surface.truth_at(true_xy), self.config.spectroscopy, self._loop_rng))
        there_x_m, there_y_m = (float(value) for value in true_xy[0])
        self.last_loop_m = (there_x_m, there_y_m)
        if self.probe.contact:
            self.surface = self.surface.with_spot(there_x_m, there_y_m, self.config.spectroscopy.spot_m, SPOT_STATE)
        if wait:
            self.clock.advance(self.config.timing.loop_s)
        self._faults.after_point()
        return loop

    def change_probe(self) -> None:
        """Replace the probe by a fresh one."""
        self.probe = Probe()
        self._faults.probe_changed()

    def true_position(self, xy_m: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """True tip positions at this moment for the commanded positions (x, y), in metres."""
        return np.asarray(xy_m + self._stage.displacement_m(np.array(self.clock.elapsed_s)))

    def _as_detected(self, loop: Loop) -> Loop:
        """The loop as this probe detects it: scaled by its gain, or only noise if it is out of contact."""
        detected = self.probe.gain * loop.response_pm
        if not self.probe.contact:
            detected = self.config.spectroscopy.noise_floor_pm * self._loop_rng.standard_normal(detected.shape)
        return replace(loop, response_pm=detected)

    def _wait_for_lines(self, lines: int, line_s: float) -> None:
        for line in range(lines):
            try:
                self.clock.advance(line_s)
            except InterruptedWaitError as error:
                raise InstrumentFaultError(f"the scan was stopped after {line} of {lines} lines and is lost: {error}") from error
