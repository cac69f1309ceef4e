import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import recommend as module
from agent.config import RecommendSection
from agent.core import NOWHERE
from agent.recommend import Recommended, core_order, recommend
from instrument_adapters.geometry import Frame
from instrument_adapters.messages import Limits

FRAME = Frame(size_fast_m=9e-6, size_slow_m=9e-6, rows=10, cols=10)  # 1 um a pixel, from -4.5 to 4.5 um


def places(
    cores: list[list[int]],
    points_rc: list[tuple[int, int]],
    *,
    frame: Frame = FRAME,
    limits: Limits = Limits(),
    measured_xy: np.ndarray = NOWHERE,
    per_cluster: int = 3,
    spacing_m: float = 0.0,
) -> Recommended:
    settings_ = RecommendSection(points_per_cluster=per_cluster, spacing_m=spacing_m)
    rows = [np.array(core, dtype=np.int64) for core in cores]
    points = np.array(points_rc, dtype=np.int64)
    distance = np.linspace(0.1, 1.0, len(points))
    return recommend(rows, distance, points, frame, limits, measured_xy, settings_, "d-1")


ROW = [(0, 0), (0, 3), (0, 6), (0, 9), (5, 0), (5, 5)]


def test_the_core_of_a_cluster_is_its_nearest_share_nearest_first() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1, 0])
    distance = np.array([[0.4, 9], [0.1, 9], [0.3, 9], [0.2, 9], [9, 0.5], [9, 0.4], [0.1, 9]])
    first, second = core_order(distance, labels, 0.5)
    assert first.tolist() == [1, 6, 3]  # half of five, rounded up; the earlier of two equals first
    assert second.tolist() == [5]


def test_the_smallest_share_still_has_one_point_and_an_empty_cluster_none() -> None:
    cores = core_order(np.array([[1.0, 1.0], [2.0, 1.0]]), np.array([0, 0]), 0.01)
    assert [c.tolist() for c in cores] == [[0], []]


def test_clusters_take_turns_most_typical_first() -> None:
    found = places([[0, 1, 2], [3], [4, 5]], ROW)
    assert [(r.cluster, r.rank) for r in found.requests] == [(0, 0), (1, 0), (2, 0), (0, 1), (2, 1), (0, 2)]
    assert [(r.row, r.col) for r in found.requests] == [ROW[i] for i in (0, 3, 4, 1, 5, 2)]
    assert [r.request_id for r in found.requests] == [f"d-1-00{i}" for i in range(6)]
    assert found.requests[1].core_distance == pytest.approx(np.linspace(0.1, 1.0, 6)[3])
    assert (found.requests[0].x_m, found.requests[0].y_m) == pytest.approx((-4.5e-6, -4.5e-6))


def test_no_cluster_gets_more_than_its_share() -> None:
    found = places([[0, 1, 2], [3, 4, 5]], ROW, per_cluster=1)
    assert [(r.cluster, r.rank) for r in found.requests] == [(0, 0), (1, 0)]


def test_a_place_too_near_to_another_is_passed_over_for_the_next_one() -> None:
    found = places([[0, 1, 2], [3]], [(0, 0), (0, 1), (0, 5), (0, 6)], spacing_m=2e-6)
    assert [(r.row, r.col, r.rank) for r in found.requests] == [(0, 0, 0), (0, 6, 0)]
    assert found.passed_over["nearer than the spacing"] == 2


def test_the_instruments_spacing_counts_where_it_is_larger() -> None:
    points = [(0, 0), (0, 2), (0, 4)]
    assert len(places([[0, 1, 2]], points, spacing_m=1e-6, limits=Limits(spacing_min_m=3e-6)).requests) == 2
    assert len(places([[0, 1, 2]], points, spacing_m=3e-6, limits=Limits(spacing_min_m=1e-6)).requests) == 2


def test_places_measured_before_are_kept_away_from() -> None:
    measured = FRAME.to_metres(np.array([[0.0, 0.5]]))
    found = places([[0, 1]], [(0, 0), (0, 3)], measured_xy=measured, spacing_m=1e-6)
    assert [(r.row, r.col) for r in found.requests] == [(0, 3)]


def test_places_outside_the_limits_are_passed_over_and_never_moved() -> None:
    limits = Limits(x_min_m=-2e-6, x_max_m=2e-6, y_min_m=-5e-6, y_max_m=5e-6)
    found = places([[0, 1, 2, 3]], ROW, limits=limits)
    assert [(r.row, r.col) for r in found.requests] == [(0, 3), (0, 6)]
    assert found.passed_over == {"outside the limits": 2, "nearer than the spacing": 0, "more than the instrument takes": 0}


@pytest.mark.parametrize("most", [0, 1, 4])
def test_the_instrument_gets_no_more_places_than_it_takes(most: int) -> None:
    found = places([[0, 1, 2], [3, 4, 5]], ROW, limits=Limits(points_max=most))
    assert len(found.requests) == most
    assert found.passed_over["more than the instrument takes"] == 6 - most


def test_no_more_places_are_recommended_than_a_message_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_POINTS", 2)
    assert len(places([[0, 1, 2]], ROW, limits=Limits(points_max=20_000)).requests) == 2


def test_when_nothing_is_left_there_is_nothing() -> None:
    assert places([[], []], ROW).requests == ()
    everywhere = FRAME.to_metres(np.array(ROW, dtype=float))
    found = places([[0, 1], [2]], ROW, measured_xy=everywhere, spacing_m=1e-9)
    assert found.requests == ()
    assert found.passed_over["nearer than the spacing"] == 3


@st.composite
def situations(draw: st.DrawFn) -> dict:
    size = st.floats(1e-7, 2e-5)
    offset = st.floats(-4e-5, 4e-5)
    rows, cols = draw(st.integers(2, 40)), draw(st.integers(2, 40))
    frame = Frame(
        size_fast_m=draw(size),
        size_slow_m=draw(size),
        x_offset_m=draw(offset),
        y_offset_m=draw(offset),
        angle_rad=draw(st.floats(-math.pi, math.pi)),
        rows=rows,
        cols=cols,
    )
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    n = draw(st.integers(1, 60))
    points = np.stack([rng.integers(0, rows, n), rng.integers(0, cols, n)], axis=1)
    labels = rng.integers(0, 3, n)
    reach = draw(st.floats(1e-6, 5e-5))
    limits = Limits(
        x_min_m=-reach,
        x_max_m=reach,
        y_min_m=-reach / 2,
        y_max_m=reach,
        spacing_min_m=draw(st.floats(0, 1e-6)),
        points_max=draw(st.integers(0, 20)),
    )
    inside = np.stack([rng.uniform(0, rows - 1, 5), rng.uniform(0, cols - 1, 5)], axis=1)
    return {
        "cores": [np.flatnonzero(labels == k).tolist() for k in range(3)],
        "points_rc": points.tolist(),
        "frame": frame,
        "limits": limits,
        "measured_xy": frame.to_metres(inside),
        "spacing_m": draw(st.floats(0, 2e-6)),
    }


@settings(max_examples=150, deadline=None)
@given(situation=situations())
def test_no_place_is_ever_outside_limits_or_frame_or_too_near_to_another(situation: dict) -> None:
    found = places(
        situation["cores"], situation["points_rc"], **{k: v for k, v in situation.items() if k[:2] not in ("co", "po")}
    )
    frame, limits = situation["frame"], situation["limits"]
    assert len(found.requests) <= limits.points_max
    xy = np.array([[r.x_m, r.y_m] for r in found.requests]).reshape(-1, 2)
    assert frame.contains(xy).all()
    assert ((xy >= [limits.x_min_m, limits.y_min_m]) & (xy <= [limits.x_max_m, limits.y_max_m])).all()
    assert xy == pytest.approx(frame.to_metres(np.array([[r.row, r.col] for r in found.requests], float).reshape(-1, 2)))
    spacing = max(situation["spacing_m"], limits.spacing_min_m)
    for i, place in enumerate(xy):
        others = np.concatenate([xy[:i], situation["measured_xy"]])
        assert np.hypot(*(others - place).T).min() >= spacing
    ranks = [(r.rank, r.cluster) for r in found.requests]
    assert ranks == sorted(ranks)
    assert len({(r.row, r.col) for r in found.requests}) == len(found.requests) or spacing == 0
    counted = len(found.requests) + sum(found.passed_over.values())
    assert counted <= len(situation["points_rc"])
