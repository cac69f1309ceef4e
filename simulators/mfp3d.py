"""A simulated Asylum MFP-3D: the real one's driver on a simulated controller, whose sample keeps its truth to itself."""

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
from simulators.physics.dart import Recording
from simulators.physics.spectroscopy import Loop, loop_parameters
from simulators.sample.surface import Surface


class SimulatedMFP3D:
    """An `Instrument` whose every frame, loop and fault follows from a configuration and its seed.

    The constructor grows the sample, which takes a second or two, and sets the controller up, which is over when the clock
    starts. `surface`, `true_position`, `last_recording` and `controller` are sealed truth: benchmarks and tests may look, an
    agent meets scans and measurements only.

    Parameters
    ----------
    config
        The instrument and its sample.
    clock
        Its own clock; event-driven by default. Stopping the clock ends whatever the instrument is doing.
    surface
        A sample grown earlier from the same `config.surface`; by default one is grown from the seed.
    folder
        Where the controller saves its files; by default in a folder of its own, which is emptied of all older files at each frame
        and removed with the instrument.
    quirks
        What is wrong with controller and files; nothing by default. It may be changed at any time.
    faults
        What goes wrong and when; nothing by default. They bring their own quirks: give either.

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
            raise ValueError("faults bring quirks of their own; give Faults(..., quirks=quirks) or one of the two")
        faults = faults or FaultInjector(quirks=quirks)
        self.quirks = faults.quirks
        self._microscope = Microscope(self.config, self.clock, surface, faults)
        self._tidy = folder is None
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="vaestar-mfp3d-"))
            weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self.controller = Controller(self._microscope, folder, self.quirks)
        # On a clock of its own: the experiment's begins when everything is set up.
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
        """Make and model; it says that it is simulated."""
        return f"{self._driver.model} (simulated)"

    @property
    def limits(self) -> Limits:
        """What it is allowed to do."""
        return self.config.limits

    @property
    def bias_V(self) -> float:
        """Largest magnitude of the bias in a loop."""
        return self._driver.bias_V

    def now(self) -> datetime:
        """Simulated time."""
        return self.clock.now()

    def scan(self) -> Scan:
        """The next frame, read from the file that the controller has saved after rows / scan rate of simulated time.

        Raises
        ------
        InstrumentFaultError
            If the instrument was closed meanwhile or before, or the frame is not what was asked for (see `MFP3D.scan`).
        """
        with self._busy():
            scan = self._driver.scan()
            number = _file_number(scan.scan_id)
            self._tidy_up(keep=number)
            return replace(scan, scan_id=f"{self.instrument_id}-scan-{number:04d}")

    def measure(self, request: MeasurementRequest) -> Measurement:
        """One hysteresis loop where `request` says, as well as the stage can go there.

        The arrays are `bias_V` and `response`, in picometres with its sign; the parameters those of `loop_parameters`. The
        loop leaves a written spot behind, also when it fails.

        Raises
        ------
        LimitError
            If the point lies outside the stage's range or the frame, too near to one measured since the last scan, or if no
            more points may be measured after this scan; nothing was moved.
        FailedLoopError
            If the loop is of no use.
        InstrumentFaultError
            If the tip did not arrive, or the instrument was closed meanwhile or before.
        """
        with self._busy():
            try:
                return self._driver.measure(request)
            finally:
                self._drop_loops()

    def halt(self) -> None:
        """End what the instrument is doing and bring it to rest, from any thread; it refuses everything until `release`."""
        self._driver.halt()

    def release(self) -> None:
        """Let the instrument work again."""
        self._driver.release()

    def close(self) -> None:
        """Stop whatever the instrument is doing, from any thread; it stays closed."""
        self._driver.close()

    @property
    def surface(self) -> Surface:
        """Sealed: the sample as it is now, with what was written on it."""
        return self._microscope.surface

    def true_position(self, xy_m: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Sealed: where the tip really is, now, when it is sent to the positions (x, y)."""
        return self._microscope.true_position(xy_m)

    @property
    def last_recording(self) -> Recording | None:
        """Sealed: the latest frame with the true position of each pixel; None before the first."""
        return self.controller.last_recording

    @property
    def last_loop_m(self) -> tuple[float, float] | None:
        """Sealed: where the tip truly was, (x, y), in the latest loop; None before the first."""
        return self._microscope.last_loop_m

    @contextlib.contextmanager
    def _busy(self) -> Iterator[None]:
        """While the instrument works; what passed since it last handed back is charged to the agent."""
        self.clock.check()
        if self.config.charge_latency and self._returned_at is not None:
            self.clock.idle(max(0.0, self.clock.wall() - self._returned_at))
        try:
            yield
        finally:
            self._returned_at = self.clock.wall()

    def _drop_loops(self) -> None:
        """Each look into the folder would take longer than the one before."""
        if self._tidy:
            for path in self._folder.glob(f"{LOOP_NAME}*.ibw"):
                path.unlink()

    def _tidy_up(self, keep: int) -> None:
        if self._tidy:
            for path in self._folder.glob("*.ibw"):
                if not path.stem.endswith(f"{keep:04d}"):
                    path.unlink()


def driver_settings(config: MFP3DConfig) -> MFP3DSettings:
    """What the driver is told so that it does what the configuration says."""
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
    """Number of the file: "simulated0012-<digest>" gives 12; what is in the file may be wrong."""
    name = scan_id.rpartition("-")[0]
    return int(name[len(name.rstrip("0123456789")) :])


def _analyse(bias_V: np.ndarray, response_pm: np.ndarray) -> dict[str, float]:
    return loop_parameters(Loop(bias_V, response_pm))
