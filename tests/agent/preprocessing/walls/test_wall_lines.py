"""Lines of walls between junctions, and pairs of key points along them."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from agent.preprocessing.walls.wall_lines import wall_graph, wall_lines


def line(first: tuple[int, int], step: tuple[int, int], count: int) -> list[tuple[int, int]]:
    return [(first[0] + k * step[0], first[1] + k * step[1]) for k in range(count)]


def pixels(*parts: list[tuple[int, int]]) -> np.ndarray:
    return np.array(sorted({p for part in parts for p in part}))


def test_distance_along_a_straight_and_a_diagonal_wall():
    for step, unit in (((0, 1), 1.0), ((1, 1), np.sqrt(2))):
        wall = pixels(line((5, 5), step, 20))
        number, distance = wall_lines(wall)
        assert set(number) == {number[0]}
        assert np.sort(distance) == pytest.approx(unit * np.arange(20))


def test_a_corner_is_no_junction():
    """Of three pixels around a corner, each touches the other two, but the diagonal one is no way of its own."""
    wall = pixels(line((5, 5), (0, 1), 10), line((5, 14), (1, 0), 10))
    number, distance = wall_lines(wall)
    assert set(number) == {0}
    assert distance.max() == pytest.approx(18.0)


def test_walls_are_cut_at_junctions():
    cross = pixels(line((20, 5), (0, 1), 31), line((5, 20), (1, 0), 31))
    number, _ = wall_lines(cross)
    at = {tuple(p): n for p, n in zip(cross.tolist(), number.tolist(), strict=True)}
    assert at[20, 20] == -1
    assert len({at[20, 6], at[20, 34], at[6, 20], at[34, 20]}) == 4
    graph = wall_graph(cross, np.array([[20, 6], [20, 14], [20, 26], [6, 20]]))
    assert graph.pairs.tolist() == [[0, 1]]
    assert graph.along_px.tolist() == [8.0]


def test_a_barb_of_the_skeleton_does_not_cut_a_wall():
    barbed = pixels(line((20, 5), (0, 1), 31), line((19, 20), (-1, 0), 2))
    number, _ = wall_lines(barbed)
    at = {tuple(p): n for p, n in zip(barbed.tolist(), number.tolist(), strict=True)}
    assert at[20, 5] == at[20, 35]
    graph = wall_graph(barbed, np.array([[20, 10], [20, 30]]))
    assert graph.along_px.tolist() == [20.0]


def test_a_branch_longer_than_a_barb_is_a_wall():
    branched = pixels(line((20, 5), (0, 1), 31), line((19, 20), (-1, 0), 8))
    assert len(set(wall_lines(branched)[0]) - {-1}) == 3


def test_a_closed_wall_is_one_line():
    ring = pixels(line((5, 5), (0, 1), 10), line((14, 5), (0, 1), 10), line((5, 5), (1, 0), 10), line((5, 14), (1, 0), 10))
    number, distance = wall_lines(ring)
    assert set(number) == {0}
    assert len(set(np.round(distance, 9))) == len(ring)  # two points on opposite sides are not at one place


def test_pairs_are_those_of_all_pairs_on_a_line():
    rng = np.random.default_rng(0)
    wall = pixels(line((50, 3), (0, 1), 90), line((60, 3), (0, 1), 90))
    points = wall[np.sort(rng.choice(len(wall), 40, replace=False))]
    graph = wall_graph(wall, points, reach_px=25.0)
    apart = cdist(points, points)
    same = (points[:, None, 0] == points[None, :, 0]) & (apart <= 25.0)
    expected = {(i, j): apart[i, j] for i, j in np.argwhere(np.triu(same, 1)).tolist()}
    found = dict(zip(map(tuple, graph.pairs.tolist()), graph.along_px.tolist(), strict=True))
    assert found == pytest.approx(expected)


def test_a_point_on_no_wall_has_no_neighbours():
    wall = pixels(line((20, 5), (0, 1), 31))
    graph = wall_graph(wall, np.array([[20, 10], [40, 12], [21, 14]]))
    assert graph.pairs.tolist() == [[0, 2]]  # the third lies beside the wall


@pytest.mark.parametrize("walls", [np.empty((0, 2), dtype=int), np.array([[3, 4]])])
def test_no_walls_make_no_pairs(walls):
    assert len(wall_graph(walls, np.array([[3, 4], [5, 6]])).pairs) == 0
    assert len(wall_lines(walls)[0]) == len(walls)
