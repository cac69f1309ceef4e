"""A simulated Asylum MFP-3D: the driver of the real instrument on a simulated controller; the sample's truth stays sealed."""

import contextlib
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
from jaxtyping import Float

from instrument_adapters.instrument import Measurement
from instrument_adapters.mfp3d.driver import MFP3D
from instrument_adapters.mfp3d.settings import LoopSettings, MFP3DSettings
from instrument_adapters.protocol.messages import Limits, MeasurementRequest
from instrument_adapters.scan import Scan
from simulators.clock import SimulatedClock
from simulators.config import MFP3DConfig
from simulators.controller.controller import Controller
from simulators.controller.files import LOOP_NAME
from simulators.controller.transport import SimulatedTransport
from simulators.faults.injector import FaultInjector
from simulators.faults.quirks import Quirks
from simulators.microscope import Microscope
from simulators.physics.dart import DartRecording
from simulators.physics.spectroscopy import Loop, loop_parameters
from simulators.sample.surface import Surface


class SimulatedMFP3D:
    """An `Instrument` whose frames, loops and faults are determined by a configuration and its seed.

    The constructor grows the sample, which takes a second or two, and sets up the controller before the clock starts. `surface`,
    `true_position`, `last_recording` and `controller` are sealed truth: benchmarks and tests may read them, an agent sees only
    scans and measurements.

    Parameters
    ----------
    config
        Configuration of instrument and sample.
    clock
        Clock of the instrument; event-driven by default. Stopping the clock interrupts the instrument.
    surface
        Sample grown earlier from the same `config.surface`; by default one is grown from the seed.
    folder
        Folder to which the controller saves its files; by default a temporary folder, from which older files are removed at each
        frame and which is deleted with the instrument.
    quirks
        Misbehaviour of controller and files; none by default. It may be changed at any time.
    faults
        Injector of scheduled faults; none by default. It has quirks of its own, so give only one of the two.

    Raises
    ------
    ValueError
        If the given surface was grown from another configuration, or both quirks and faults are given.
    """

    def __init__(
        self,
        config: MFP3DConfig | None = None,
        *,
        clock: SimulatedClock | None = None,
        surface: Surface | None = None,
        folder: Path | None = None,
        quirks: Quirks | None = None,
        faults: FaultInjector | None = None,
    ) -> None:
        self.config = config or MFP3DConfig()
        self.clock = clock or SimulatedClock()
        if quirks is not None and faults is not None:
            raise ValueError("both quirks and faults were given; give FaultInjector(..., quirks=quirks) or only one of the two")
        faults = faults or FaultInjector(quirks=quirks)
        self.quirks = faults.quirks
        self._microscope = Microscope(self.config, self.clock, surface, faults)
        self._tidy = folder is None
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="vaestar-mfp3d-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.controller = Controller(self._microscope, folder, self.quirks)
        # The set-up runs on another clock, since the clock of the experiment starts when the set-up is finished.
        self.controller.clock = SimulatedClock()
        transport = SimulatedTransport(self.controller, self.config.timing.command_s)
        self._driver = MFP3D(driver_settings(self.config), transport, analyse=_analyse)
        self.controller.clock = self.clock
        self._folder = folder
        self._returned_at: float | None = None

    @property
    def instrument_id(self) -> str:
        """Name of this instrument."""
        return self.config.instrument_id

    @property
    def model(self) -> str:
        """Make and model, marked as simulated."""
        return f"{self._driver.model} (simulated)"

    @property
    def limits(self) -> Limits:
        """Limits of stage, bias and points."""
        return self.config.limits

    @property
    def bias_V(self) -> float:
        """Largest magnitude of the tip bias in a loop, in volts."""
        return self._driver.bias_V

    def now(self) -> datetime:
        """Simulated time."""
        return self.clock.now()

    def scan(self) -> Scan:
        """The next frame, read from the file that the controller saves after rows / scan rate of simulated time.

        Raises
        ------
        InstrumentFaultError
            If the instrument was closed or halted before or during the scan, or the frame is not the one that was set
            (see `MFP3D.scan`).
        """
        with self._busy():
            scan = self._driver.scan()
            number = _file_number(scan.scan_id)
            self._tidy_up(keep=number)
            return replace(scan, scan_id=f"{self.instrument_id}-scan-{number:04d}")

    def measure(self, request: MeasurementRequest) -> Measurement:
        """One hysteresis loop at the requested point, within the accuracy of the stage.

        The arrays are `bias_V` and `response`, the signed response in picometres; the parameters are those of `loop_parameters`.
        The loop writes a spot on the sample, even if it fails.

        Raises
        ------
        LimitError
            If the point lies outside the stage's range or the frame or too near to one measured since the last scan, or if the
            number of points after a scan is used up; nothing was moved.
        FailedLoopError
            If no parameters can be determined from the loop.
        InstrumentFaultError
            If the tip did not arrive, or the instrument was closed or halted before or during the measurement.
        """
        with self._busy():
            try:
                return self._driver.measure(request)
            finally:
                self._drop_loops()

    def halt(self) -> None:
        """Interrupt the instrument and bring it to rest, from any thread; every call fails until `release`."""
        self._driver.halt()

    def release(self) -> None:
        """Allow scans and measurements again."""
        self._driver.release()

    def close(self) -> None:
        """Interrupt the instrument for good, from any thread."""
        self._driver.close()

    @property
    def surface(self) -> Surface:
        """Sealed: the sample in its present state, including written domains."""
        return self._microscope.surface

    def true_position(self, xy_m: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Sealed: true tip positions at this moment for the commanded positions (x, y), in metres."""
        return self._microscope.true_position(xy_m)

    @property
    def last_recording(self) -> DartRecording | None:
        """Sealed: the latest frame with the true position of each pixel; None before the first."""
        return self.controller.last_recording

    @property
    def last_loop_m(self) -> tuple[float, float] | None:
        """Sealed: true tip position (x, y) in metres during the latest loop; None before the first."""
        return self._microscope.last_loop_m

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        """Charge the wall time since the last call returned to the agent, and record when this one returns."""
        self.clock.raise_if_stopped()
        if self.config.charge_latency and self._returned_at is not None:
            self.clock.charge_wall_time(max(0.0, self.clock.wall() - self._returned_at))
        try:
            yield
        finally:
            self._returned_at = self.clock.wall()

    def _drop_loops(self) -> None:
        """Delete the files of loops, since listing the folder would otherwise take longer with every loop."""
        if self._tidy:
            for path in self._folder.glob(f"{LOOP_NAME}*.ibw"):
                path.unlink()

    def _tidy_up(self, keep: int) -> None:
        if self._tidy:
            for path in self._folder.glob("*.ibw"):
                if not path.stem.endswith(f"{keep:04d}"):
                    path.unlink()


def driver_settings(config: MFP3DConfig) -> MFP3DSettings:
    """Settings of the driver for this configuration."""
    return MFP3DSettings(
        instrument_id=config.instrument_id,
        sample_id=config.sample_id,
        frame=config.frame,
        scan_rate_Hz=config.timing.scan_rate_Hz,
        scan_down=config.scan_down,
        drive_V=config.dart.drive_V,
        centre_Hz=config.dart.resonance_Hz,
        tone_separation_Hz=config.dart.tone_separation_Hz,
        loop=LoopSettings(bias_max_V=config.spectroscopy.bias_max_V, frequency_Hz=1 / config.timing.loop_s),
        retune_every=config.timing.retune_every,
        retune_s=config.timing.retune_s,
        limits=config.limits,
        speed_max_m_per_s=config.timing.speed_max_m_per_s,
    )


def _file_number(scan_id: str) -> int:
    """Number in the name of the file ("simulated0012-<digest>" gives 12); a fault may falsify the number in its content."""
    name = scan_id.rpartition("-")[0]
    return int(name[len(name.rstrip("0123456789")) :])


def _analyse(bias_V: np.ndarray, response_pm: np.ndarray) -> dict[str, float]:
    return loop_parameters(Loop(bias_V, response_pm))
