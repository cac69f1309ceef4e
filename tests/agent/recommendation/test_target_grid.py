import numpy as np
import pytest

from agent.recommendation.target_grid import MAX_NODES, target_grid


@pytest.mark.parametrize("shape", [(64, 64), (100, 65), (256, 256), (40, 500), (1024, 1000)])
def test_nodes_are_equally_spaced_and_cover_the_frame(shape: tuple[int, int]) -> None:
    nodes = target_grid(np.ones(shape, dtype=bool))
    assert MAX_NODES / 4 < len(nodes) <= MAX_NODES
    step = int(np.diff(np.unique(nodes[:, 0]))[0])
    assert all((np.diff(np.unique(nodes[:, axis])) == step).all() for axis in (0, 1))
    for axis, side in enumerate(shape):
        assert nodes[:, axis].min() < step
        assert nodes[:, axis].max() >= side - step


def test_a_small_frame_has_a_node_at_every_pixel() -> None:
    assert len(target_grid(np.ones((30, 20), dtype=bool))) == 600


def test_there_are_no_nodes_in_cells_of_which_most_was_not_recorded() -> None:
    valid = np.ones((300, 300), dtype=bool)
    valid[150:] = False
    assert target_grid(valid)[:, 0].max() < 155
    assert len(target_grid(valid)) == pytest.approx(MAX_NODES / 2, rel=0.2)


def test_a_scan_without_every_other_line_keeps_its_nodes() -> None:
    valid = np.ones((256, 256), dtype=bool)
    valid[1::2] = False
    assert len(target_grid(valid)) > MAX_NODES / 4


def test_a_frame_narrower_than_a_cell_has_one_line_of_nodes() -> None:
    nodes = target_grid(np.ones((2, 9000), dtype=bool))
    assert len(np.unique(nodes[:, 1])) == 4500
