import numpy as np
import pytest

from agent.recommendation.target_grid import MOST_NODES, frame_lattice


@pytest.mark.parametrize("shape", [(64, 64), (100, 65), (256, 256), (40, 500), (1024, 1000)])
def test_every_pixel_is_near_to_a_node_and_each_node_is_alone_in_its_cell(shape: tuple[int, int]) -> None:
    nodes = frame_lattice(np.ones(shape, dtype=bool))
    assert MOST_NODES / 4 < len(nodes) <= MOST_NODES
    step = int(np.diff(np.unique(nodes[:, 0]))[0])
    assert all((np.diff(np.unique(nodes[:, axis])) == step).all() for axis in (0, 1))
    for axis, side in enumerate(shape):
        assert nodes[:, axis].min() < step
        assert nodes[:, axis].max() >= side - step


def test_a_small_frame_has_a_node_at_every_pixel() -> None:
    assert len(frame_lattice(np.ones((30, 20), dtype=bool))) == 600


def test_there_are_no_nodes_where_the_larger_part_was_not_recorded() -> None:
    valid = np.ones((300, 300), dtype=bool)
    valid[150:] = False
    assert frame_lattice(valid)[:, 0].max() < 155
    assert len(frame_lattice(valid)) == pytest.approx(MOST_NODES / 2, rel=0.2)


def test_a_frame_of_which_every_other_line_is_missing_keeps_its_nodes() -> None:
    valid = np.ones((256, 256), dtype=bool)
    valid[1::2] = False
    assert len(frame_lattice(valid)) > MOST_NODES / 4


def test_a_frame_narrower_than_a_cell_has_one_line_of_nodes() -> None:
    nodes = frame_lattice(np.ones((2, 9000), dtype=bool))
    assert len(np.unique(nodes[:, 1])) == 4500
