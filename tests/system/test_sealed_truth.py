"""Nothing that an instrument sends depends on the truth or reveals it: every byte of a run is recorded and searched."""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from instrument_adapters.client import run_client
from instrument_adapters.geometry import Frame
from instrument_adapters.instrument import Measurement
from instrument_adapters.protocol.codec import decode
from instrument_adapters.protocol.messages import MeasurementRequest, ResultMessage, ScanMessage
from instrument_adapters.scan import Scan
from simulators.config import MFP3DConfig
from simulators.faults.catalogue import FAULTS, Group
from simulators.faults.faulty_connection import FaultyConnection
from simulators.faults.injector import FaultInjector
from simulators.faults.schedule import FaultSchedule, Injection
from simulators.mfp3d import SimulatedMFP3D
from simulators.physics.motion import MotionConfig
from simulators.physics.spectroscopy import Loop, loop_parameters
from simulators.sample.domains import DomainState, SuperdomainKind, WallType
from simulators.sample.growth import grow_surface
from simulators.sample.surface import Surface, SurfaceConfig
from simulators.tiers import TIERS
from tests.instrument_adapters.conftest import FAST, FakeAgent

SEED = 87_235_601  # so long that it stands in no message by chance
CYCLES = 3
ONE = SurfaceConfig(size_m=1.5e-6, pixels=256, superdomain_m=0.5e-6)
OTHER = ONE.model_copy(update={"superdomain_m": 0.3e-6, "c_minus_share": 0.1, "stripe_share": 0.0, "gain_spread": 0.4})
FRAME = Frame(size_fast_m=1.2e-6, size_slow_m=1.2e-6, x_offset_m=ONE.centre_x_m, y_offset_m=ONE.centre_y_m, rows=32, cols=32)
HONEST = ("probe", "data", "sample", "lost_ack", "replayed_message", "disconnect_mid_scan")
MEASURED = {"DFRTFrequencyCenter", "DriveFrequency", "DriveFrequency1"}  # where the tracker stood
SEALED_WORDS = {
    *FAULTS,
    *TIERS,
    *(str(name).lower() for kind in (DomainState, SuperdomainKind, WallType) for name in kind.__members__ if name != "NONE"),
    *("truth", "true", "sealed", "fault", "seed", "eta", "eta2", "tier", "drift", "creep", "jitter"),
    *("hidden", "wall", "grain", "domain", "schedule", "damage", "written"),
}


class Witness(SimulatedMFP3D):
    """Keeps what nobody may learn of: where the tip truly was. `leak` lets out some of it."""

    def __init__(self, *args: Any, leak: "Leak | None" = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.leak = leak
        self.numbers: list[float] = [float(SEED)]
        self.images: list[np.ndarray] = []

    def scan(self) -> Scan:
        scan = super().scan()
        assert self.last_recording is not None
        true_xy = self.last_recording.true_xy_m
        self.numbers += [*true_xy[0, 0], *true_xy[-1, -1], *(true_xy.mean(axis=(0, 1)) - (FRAME.x_offset_m, FRAME.y_offset_m))]
        state = self.surface.truth_at(true_xy.reshape(-1, 2)).state.reshape(FRAME.rows, FRAME.cols)
        self.images += [*np.moveaxis(true_xy, -1, 0), state]
        return scan if self.leak is None else self.leak.scan(self, scan)

    def measure(self, request: MeasurementRequest) -> Measurement:
        try:
            measurement = super().measure(request)
        finally:
            self.numbers += self.true_position(np.array([[request.x_m, request.y_m]]))[0].tolist()
        return measurement if self.leak is None else self.leak.measurement(self, measurement)


@dataclass(frozen=True)
class Leak:
    scan: Callable[[Witness, Scan], Scan] = lambda _, scan: scan
    measurement: Callable[[Witness, Measurement], Measurement] = lambda _, measurement: measurement


@dataclass(frozen=True)
class Run:
    frames: Sequence[Sequence[bytes]]
    witness: Witness
    happened: frozenset[str]

    def messages(self, kind: type) -> list[Any]:
        """Each message once, in order."""
        return list({m.id: m for m in (decode(f).message for f in self.frames) if isinstance(m, kind)}.values())


@pytest.fixture(scope="module")
def surfaces() -> tuple[Surface, Surface]:
    return grow_surface(ONE, np.random.default_rng(1)), grow_surface(OTHER, np.random.default_rng(2))


def places(scan_id: str) -> list[tuple[float, float]]:
    """Three points of the frame, others after each scan."""
    across = 3.0 * int(scan_id[-4:])
    rc = np.array([[6.0, 7.0 + across], [15.0, 3.0 + across], [25.0, 9.0 + across]])
    return [(x, y) for x, y in FRAME.to_metres(rc).tolist()]


@pytest.fixture
def run(surfaces: tuple[Surface, Surface]) -> Iterator[Callable[..., Run]]:
    """A run of a sample, with faults of these groups and names, and perhaps a leak."""

    agents: list[FakeAgent] = []

    def ran(which: int, *rates: str, asked: Sequence[str] = (), leak: Leak | None = None) -> Run:
        agent = FakeAgent()
        agents.append(agent)
        agent.points = places
        config = MFP3DConfig(
            seed=SEED + which,
            frame=FRAME,
            surface=surfaces[which].config,
            motion=MotionConfig(drift_m_per_min=(1e-9, 7e-9)[which]),
            charge_latency=False,
        )
        with FaultyConnection(agent.address) as link:
            schedule = FaultSchedule.random(dict.fromkeys(rates, 3.0), np.random.default_rng(4), map(Injection.parse, asked))
            faults = FaultInjector(schedule, arm=link.arm)
            witness = Witness(config, surface=surfaces[which], faults=faults, leak=leak)
            run_client(witness, link.address, cycles=CYCLES, timings=FAST)
        return Run(agent.frames, witness, frozenset(entry.fault for entry in faults.log.entries))

    yield ran
    for agent in agents:
        agent.close()


def audit(run: Run) -> None:
    """Raise AssertionError if any message reveals something."""
    for frames in run.frames:
        packet = decode(frames)  # refuses every field that is not the schema's
        said = list(_leaves(json.loads(frames[0])))
        words = {word.lower() for text in said for word in [*re.findall(r"\w+", text), *re.findall(r"[A-Z]?[a-z]+", text)]}
        assert not words & SEALED_WORDS, words & SEALED_WORDS
        numbers = np.array([float(n) for text in said for n in re.findall(r"-?\d+\.?\d*(?:[eE][-+]?\d+)?", text)])
        for sealed in run.witness.numbers:
            assert not np.isclose(numbers, sealed, rtol=1e-7, atol=0).any(), sealed
        for array in packet.arrays.values():
            for image in array if array.ndim == 3 else ():
                assert not any(image.shape == s.shape and np.allclose(image, s, rtol=1e-4) for s in run.witness.images)
        if isinstance(packet.message, ResultMessage) and packet.message.status == "ok":
            again = loop_parameters(Loop(packet.arrays["bias_V"], packet.arrays["response"]))
            assert packet.message.parameters == again, "more than the instrument draws from its loop"
    asked = {f"{m.scan_id}-p{n}": xy for m in run.messages(ScanMessage) for n, xy in enumerate(places(m.scan_id))}
    for result in run.messages(ResultMessage):
        if result.status == "ok":
            assert (result.x_m, result.y_m) == asked[result.request_id], "the stage does not know its drift"


def _leaves(value: Any) -> Iterator[str]:
    """Everything that a header says, as text: names and values."""
    if isinstance(value, dict):
        for key, one in value.items():
            # Make and sample are the configuration's own words.
            yield from [key, *_leaves(None if key in ("model", "sample_id") else one)]
    elif isinstance(value, list):
        for one in value:
            yield from _leaves(one)
    elif not isinstance(value, bool | None):
        yield str(value)


def compare(one: Run, other: Run) -> None:
    """Raise AssertionError if the scans of two worlds differ in more than what was measured."""
    said = [[_said(message) for message in run.messages(ScanMessage)] for run in (one, other)]
    assert said[0] == said[1]
    for run in (one, other):
        for frames in run.frames:
            packet = decode(frames)
            if isinstance(packet.message, ScanMessage):
                at = [c.name for c in packet.message.channels].index("FrequencyRetrace")
                centre = float(packet.message.metadata["DFRTFrequencyCenter"])
                assert centre == pytest.approx(float(np.nanmedian(packet.arrays["channels"][at])), rel=1e-5)


def _said(message: ScanMessage) -> dict[str, Any]:
    header = json.loads(message.model_dump_json(exclude={"sent_at"}))
    header["metadata"] = {key: value for key, value in header["metadata"].items() if key not in MEASURED}
    return header


def test_what_is_sent_of_two_worlds_differs_in_what_was_measured_and_reveals_nothing(run: Callable[..., Run]) -> None:
    plain, troubled = run(0), run(1, *HONEST)
    assert plain.happened == frozenset()
    assert {FAULTS[name].group for name in troubled.happened} == set(Group) - {Group.MOTION}
    for one in (plain, troubled):
        assert len(one.messages(ScanMessage)) == CYCLES
        assert len(one.messages(ResultMessage)) == 3 * CYCLES
        audit(one)
    compare(plain, troubled)


def test_nothing_is_revealed_where_frames_and_points_fail_either(run: Callable[..., Run]) -> None:
    asked = ("truncated_file@1", "frozen_position@2", "silent_clamp@3", "crash@5:0")
    troubled = run(0, asked=asked)
    assert troubled.happened == {one.split("@")[0] for one in asked}
    assert {result.status for result in troubled.messages(ResultMessage)} == {"ok", "failed"}
    audit(troubled)


def _note(key: str, value: Callable[[Witness], object]) -> Leak:
    return Leak(scan=lambda witness, scan: replace(scan, metadata={**scan.metadata, key: str(value(witness))}))


LEAKS = {
    "a truth field in the note": _note("TrueXOffset", lambda witness: witness.true_position(np.zeros((1, 2)))[0, 0]),
    "the true position under an honest key": _note("XOffset", lambda witness: witness.numbers[-2]),
    "the fault in a sentence": _note("ImagingMode", lambda _: "PFM Mode, lock_loss"),
    "the seed": _note("Version", lambda _: SEED),
    "an image of the true positions": Leak(
        scan=lambda witness, scan: replace(
            scan, channels={**scan.channels, "HeightRetrace": witness.images[-2].astype(np.float32)}
        )
    ),
    "a result at the true position": Leak(
        measurement=lambda witness, m: replace(m, x_m=float(witness.true_position(np.array([[m.x_m, m.y_m]]))[0, 0]))
    ),
    "a parameter that no loop tells": Leak(
        measurement=lambda _, m: replace(m, parameters={**m.parameters, "distance_m": 1.25e-8})
    ),
}


@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)
def test_the_audit_finds_what_is_smuggled(run: Callable[..., Run], leak: Leak) -> None:
    leaky = run(0, leak=leak)
    with pytest.raises(AssertionError):
        audit(leaky)


def test_the_comparison_finds_a_number_that_only_depends_on_the_truth(run: Callable[..., Run]) -> None:
    leak = _note("DARTIGain", lambda witness: 1000.0 + float(np.abs(witness.surface.response).mean()))
    with pytest.raises(AssertionError):
        compare(run(0, leak=leak), run(1, leak=leak))
