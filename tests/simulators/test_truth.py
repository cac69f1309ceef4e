"""The truth follows the tip, not the command."""

import numpy as np

from simulators.clock import SimulatedClock
from simulators.config import MFP3DConfig
from simulators.mfp3d import SimulatedMFP3D
from simulators.microscope import Microscope
from simulators.sample.domains import DomainState
from simulators.sample.surface import Surface
from tests.simulators.conftest import SMALL

FRAME = MFP3DConfig().frame.model_copy(update={"size_fast_m": 1.0e-6, "size_slow_m": 1.0e-6, "rows": 96, "cols": 96})
FAST_DRIFT = MFP3DConfig(
    frame=FRAME, surface=SMALL, charge_latency=False, motion={"drift_m_per_min": 20e-9, "creep_m": 0.0, "jitter_m": 0.0}
)


def test_what_was_recorded_agrees_with_the_truth_at_the_true_position_and_not_at_the_commanded_one(
    small_surface: Surface,
) -> None:
    instrument = SimulatedMFP3D(FAST_DRIFT, clock=SimulatedClock(None), surface=small_surface)
    scan = instrument.scan()
    assert instrument.last_recording is not None
    true_xy = instrument.last_recording.true_xy_m.reshape(-1, 2)
    commanded = FRAME.to_metres(np.stack(np.indices((96, 96)), axis=-1).reshape(-1, 2).astype(float))
    assert np.hypot(*(true_xy - commanded).T).max() > 50e-9
    bright = scan.channels["Amplitude1Retrace"].ravel()
    contrast = [
        bright[small_surface.truth_at(xy).state == DomainState.C_PLUS].mean()
        - bright[small_surface.truth_at(xy).state >= DomainState.A_FIRST].mean()
        for xy in (true_xy, commanded)
    ]
    assert contrast[0] > 1.5 * contrast[1]


def test_a_loop_writes_its_spot_where_the_tip_truly_is(small_surface: Surface) -> None:
    config = FAST_DRIFT.model_copy(update={"motion": FAST_DRIFT.motion.model_copy(update={"repeatability_m": 0.0})})
    microscope = Microscope(config, SimulatedClock(None), small_surface)
    microscope.clock.advance(600.0)  # 200 nm of drift
    x_m, y_m = FRAME.x_offset_m, FRAME.y_offset_m
    there = microscope.true_position(np.array([[x_m, y_m]]))
    microscope.loop_at(x_m, y_m)
    written = microscope.surface.written
    assert written is not None
    centre = small_surface.config.square.to_metres(np.argwhere(written).mean(axis=0)[None])
    np.testing.assert_allclose(centre, there, atol=small_surface.config.pitch_m)
    assert np.hypot(*(there - (x_m, y_m)).T) > 150e-9
