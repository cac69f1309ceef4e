"""The study of scans with fewer lines and with hot pixels."""

import numpy as np
import pytest

from benchmarks.harness.scans import as_scan
from benchmarks.recovery.pixels import every, hot, report


@pytest.mark.parametrize("step", [2, 4, 8])
def test_every_nth_line_stays_where_it_was_recorded(step: int) -> None:
    image = np.arange(64 * 48, dtype=np.float32).reshape(64, 48)
    scan = as_scan(image, "scan-1")
    fewer = every(scan, step)
    (kept,) = fewer.channels.values()
    np.testing.assert_array_equal(kept, image[::step])
    rc = np.array([[0.0, 0.0], [len(kept) - 1.0, 47.0]])
    np.testing.assert_allclose(fewer.frame.to_metres(rc), scan.frame.to_metres(rc * [step, 1]), atol=1e-15)


def test_as_many_pixels_are_hot_as_asked_for() -> None:
    scan = as_scan(np.zeros((64, 48)), "scan-1")
    (image,) = hot(scan, 10).channels.values()
    assert (image > 0).sum() == 10


def test_the_report_averages_over_scans_and_names_what_has_no_truth() -> None:
    def row(ari: float) -> dict[str, float | str]:
        both = {f"ARI to whole, {rules}": ari for rules in ("present", "first")}
        return {"case": "every 4 lines", **both}

    truth = {f"ARI to truth, {rules}": 0.6 for rules in ("present", "first")}
    outcome = report({"recorded": [row(0.8)], "clean 0": [row(0.6) | truth]})
    assert outcome.figures["every 4 lines, ARI to whole, present rules"] == pytest.approx(0.7)
    assert outcome.figures["every 4 lines, ARI to truth, first rules"] == pytest.approx(0.6)
    assert report({"recorded": [row(0.8)]}).missing == {
        f"every 4 lines, ARI to truth, {rules} rules": "no simulated world was run" for rules in ("present", "first")
    }
