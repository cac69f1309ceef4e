"""The driver with a misbehaving controller or file: nothing is measured, and the error names the reason."""

from pathlib import Path

import numpy as np
import pytest

from instrument_adapters.errors import InstrumentFaultError
from simulators.mfp3d import SimulatedMFP3D
from simulators.sample.surface import Surface
from tests.simulators.test_mfp3d import CONFIG, FRAME, altered, request_at

FAST = altered(CONFIG, frame=FRAME.model_copy(update={"rows": 16, "cols": 16}))


@pytest.fixture
def microscope(small_surface: Surface) -> SimulatedMFP3D:
    return SimulatedMFP3D(FAST, surface=small_surface)


def test_a_frozen_read_back_is_noticed_nothing_is_measured_and_the_point_stays_free(microscope: SimulatedMFP3D) -> None:
    untouched = microscope.surface
    microscope.quirks.frozen_position = True
    with pytest.raises(InstrumentFaultError, match=r"read-back is frozen.*nothing was measured"):
        microscope.measure(request_at(5, 5))
    assert microscope.surface is untouched
    microscope.quirks.frozen_position = False
    assert microscope.measure(request_at(5, 5)).x_m == request_at(5, 5).x_m


def test_a_silent_clamp_is_noticed_and_nothing_is_measured(microscope: SimulatedMFP3D) -> None:
    untouched = microscope.surface
    microscope.quirks.silent_clamp, microscope.quirks.half_range_m = True, 6.3e-6
    with pytest.raises(InstrumentFaultError, match=r"sent to \(.*, -6.572\) um.* \(.*, -6.300\) um: the target was clamped"):
        microscope.measure(request_at(5, 10))
    assert microscope.surface is untouched


def test_a_frame_that_was_clamped_lies_elsewhere_and_is_refused(microscope: SimulatedMFP3D) -> None:
    microscope.quirks.silent_clamp, microscope.quirks.half_range_m = True, 6.3e-6
    with pytest.raises(InstrumentFaultError, match=r"simulated0001.ibw lies 400 nm from the frame that was set"):
        microscope.scan()


def test_a_frame_that_is_not_saved_is_missed_at_the_deadline_and_the_scan_is_stopped(microscope: SimulatedMFP3D) -> None:
    microscope.scan()
    microscope.quirks.stale = True
    before = microscope.clock.elapsed_s
    with pytest.raises(InstrumentFaultError, match=r"no complete frame .* no new file appeared"):
        microscope.scan()
    assert microscope.clock.elapsed_s - before == pytest.approx(2 * 16 / 0.40064 + 60, abs=1.0)
    microscope.quirks.stale = False
    assert microscope.scan().scan_id == "mfp3d-sim-scan-0002"


def test_a_frame_is_read_only_when_it_is_complete(microscope: SimulatedMFP3D) -> None:
    microscope.quirks.saving_s = 7.0
    scan = microscope.scan()
    assert scan.finished_at is not None
    assert 7.0 < (microscope.clock.now() - scan.finished_at).total_seconds() < 9.0
    assert np.isfinite(scan.channels["FrequencyRetrace"]).all()


def test_a_file_that_stays_cut_short_is_a_failed_frame(microscope: SimulatedMFP3D) -> None:
    microscope.quirks.spoiled = lambda raw: raw[:3000]
    with pytest.raises(InstrumentFaultError, match="has 3000 bytes but needs at least"):
        microscope.scan()
    microscope.quirks.spoiled = None
    assert microscope.scan().scan_id == "mfp3d-sim-scan-0002"


def test_a_repeated_name_is_a_new_frame_with_the_old_scan_id(microscope: SimulatedMFP3D) -> None:
    first = microscope.scan()
    microscope.quirks.repeated_id = True
    second = microscope.scan()
    assert second.scan_id == first.scan_id
    assert (second.channels["HeightRetrace"] != first.channels["HeightRetrace"]).any()
    microscope.quirks.repeated_id = False
    assert microscope.scan().scan_id == "mfp3d-sim-scan-0002"


def test_a_file_with_traps_gives_the_same_scan(small_surface: Surface) -> None:
    plain = SimulatedMFP3D(FAST, surface=small_surface).scan()
    trapped = SimulatedMFP3D(altered(FAST, file_traps=True), surface=small_surface).scan()
    assert trapped.units == plain.units
    assert trapped.finished_at == plain.finished_at
    for name, image in plain.channels.items():
        np.testing.assert_array_equal(trapped.channels[name], image)


def test_what_is_scanned_is_what_was_recorded_bit_for_bit(microscope: SimulatedMFP3D) -> None:
    scan = microscope.scan()
    assert scan.frame == FAST.frame
    assert microscope.last_recording is not None
    for name, image in microscope.last_recording.channels.items():
        np.testing.assert_array_equal(scan.channels[name], image)


def test_frames_stay_in_a_given_folder_and_only_the_latest_in_one_of_its_own(small_surface: Surface, tmp_path: Path) -> None:
    kept, own = (
        SimulatedMFP3D(FAST, surface=small_surface, folder=tmp_path / "frames"),
        SimulatedMFP3D(FAST, surface=small_surface),
    )
    for _ in range(2):
        kept.scan()
        own.scan()
    assert sorted(path.name for path in (tmp_path / "frames").iterdir()) == ["simulated0001.ibw", "simulated0002.ibw"]
    folder = own.controller.file_writer.folder
    assert [path.name for path in folder.iterdir()] == ["simulated0002.ibw"]
    del own
    assert not folder.exists()


def test_nobody_is_told_which_commands_were_rejected_and_none_is_in_an_ordinary_run(microscope: SimulatedMFP3D) -> None:
    microscope.scan()
    microscope.measure(request_at(5, 5))
    microscope.scan()
    assert microscope.controller.rejected == []
