import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.selection.evidence import COUNTS, explained, write


def test_the_explained_share_is_all_between_points_nothing_in_one_cluster_and_a_known_part_in_between() -> None:
    scores = np.array([[0.0], [2.0], [4.0], [6.0]])
    assert explained(np.arange(4), scores) == pytest.approx(1)
    assert explained(np.zeros(4, dtype=int), scores) == pytest.approx(0)
    assert explained(np.array([0, 0, 1, 1]), scores) == pytest.approx(1 - 4 / 20)


def test_the_table_has_a_row_for_each_number_of_loops(tmp_path: Path) -> None:
    rows = {n: {"R2": n / 1000, "pick": 0.5} for n in COUNTS}
    write(tmp_path, [40, 41], rows)
    assert json.loads((tmp_path / "evidence.json").read_text())["loops"]["50"] == {"R2": 0.05, "pick": 0.5}
    head, _, first = (tmp_path / "evidence.md").read_text().splitlines()[4:7]
    assert (head, first) == ("| loops | R2 | pick |", "| 20 | 0.020 | 0.500 |")
