from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.realism import tier_pictures
from simulators.sample.domains import WallType


@pytest.mark.slow
def test_a_tier_is_drawn_with_the_walls_it_has_and_no_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tier_pictures, "SHOWN", ("needles",))
    figure = tier_pictures.picture(0)
    amplitude, truth = figure.axes[0], figure.axes[tier_pictures._COLUMNS]
    assert amplitude.get_title() == "needles"
    drawn = np.unique(np.asarray(truth.images[0].get_array()))
    grounds = len(tier_pictures._GROUND)
    assert set(drawn[drawn >= grounds]) == {grounds - 1 + WallType.NEEDLE_PLUS}
    assert set(drawn[drawn < grounds]) == {0, 2}  # c+ and a; no c- domains
    tier_pictures.save(figure, tmp_path / "needles.png")
    with Image.open(tmp_path / "needles.png") as saved:
        assert len(saved.getcolors()) <= tier_pictures._COLOURS_KEPT


def test_walls_are_drawn_where_they_are_and_nowhere_else() -> None:
    distance_m = np.array([0.0, 5e-9, 50e-9, np.inf])
    seen = tier_pictures.types_seen(distance_m, np.array([WallType.STRIPE, WallType.C_C_180, WallType.STRIPE, WallType.NONE]))
    assert seen.tolist() == [WallType.STRIPE, WallType.C_C_180, WallType.NONE, WallType.NONE]
