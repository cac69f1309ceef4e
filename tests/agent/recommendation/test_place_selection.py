import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config.recommendation import RecommendSettings
from agent.decision.inputs import NOWHERE
from agent.recommendation import place_selection as module
from agent.recommendation.place_selection import Pool, Recommended, recommend
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Limits

FRAME = Frame(size_fast_m=9e-6, size_slow_m=9e-6, rows=10, cols=10)  # 1 um per pixel, from -4.5 to 4.5 um


def pool(cores: list[list[int]], points_rc: list[tuple[int, int]], mixed: tuple[int, ...] = (), window_px: int = 1) -> Pool:
    """A pool in which points outside all cores belong to cluster 0, and the points are the targets too."""
    points = np.array(points_rc, dtype=np.int64)
    labels = np.zeros(len(points), dtype=np.int64)
    for k, core in enumerate(cores):
        labels[core] = k
    rows = [np.array(core, dtype=np.int64) for core in cores]
    distance = np.linspace(0.1, 1.0, len(points))
    features = np.stack([np.sin(np.arange(len(points))), np.cos(np.arange(len(points)))], axis=1)
    features = np.concatenate([features, features])
    return Pool(points, labels, distance, rows, features, window_px, np.array(mixed, dtype=np.int64), targets_rc=points)


def places(
    cores: list[list[int]],
    points_rc: list[tuple[int, int]],
    *,
    frame: Frame = FRAME,
    limits: Limits = Limits(),
    measured_xy: np.ndarray = NOWHERE,
    per_cluster: int = 3,
    spacing_m: float = 0.0,
    policy: str = "equal",
    mixed: tuple[int, ...] = (),
    window_px: int = 1,
    **more: object,
) -> Recommended:
    settings_ = RecommendSettings(
        **{"policy": policy, "points_per_cluster": per_cluster, "spacing_m": spacing_m, "damage_radius_m": 0.0} | more
    )
    found = pool(cores, points_rc, mixed, window_px)
    return recommend(found, frame, limits, measured_xy, settings_, "d-1", np.random.default_rng(0))


ROW = [(0, 0), (0, 3), (0, 6), (0, 9), (5, 0), (5, 5)]


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


def test_places_measured_before_are_avoided() -> None:
    measured = FRAME.to_metres(np.array([[0.0, 0.5]]))
    found = places([[0, 1]], [(0, 0), (0, 3)], measured_xy=measured, spacing_m=1e-6)
    assert [(r.row, r.col) for r in found.requests] == [(0, 3)]


def test_places_outside_the_limits_are_passed_over_and_never_moved() -> None:
    limits = Limits(x_min_m=-2e-6, x_max_m=2e-6, y_min_m=-5e-6, y_max_m=5e-6)
    found = places([[0, 1, 2, 3]], ROW, limits=limits)
    assert [(r.row, r.col) for r in found.requests] == [(0, 3), (0, 6)]
    assert {reason: n for reason, n in found.passed_over.items() if n} == {"outside the limits": 2}


@pytest.mark.parametrize("most", [0, 1, 4])
def test_the_instrument_gets_no_more_places_than_it_takes(most: int) -> None:
    found = places([[0, 1, 2], [3, 4, 5]], ROW, limits=Limits(points_max=most))
    assert len(found.requests) == most
    assert found.passed_over["more than the instrument takes"] == 6 - most


def test_no_more_places_are_recommended_than_a_message_carries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_POINTS", 2)
    assert len(places([[0, 1, 2]], ROW, limits=Limits(points_max=20_000)).requests) == 2


def test_nothing_is_recommended_if_no_point_is_left() -> None:
    assert places([[], []], ROW).requests == ()
    everywhere = FRAME.to_metres(np.array(ROW, dtype=float))
    found = places([[0, 1], [2]], ROW, measured_xy=everywhere, spacing_m=1e-9)
    assert found.requests == ()
    assert found.passed_over["nearer than the spacing"] == 3


def rows_of(found: Recommended) -> list[tuple[int, int]]:
    return [(r.row, r.col) for r in found.requests]


def test_the_margin_of_the_frame_is_kept() -> None:
    found = places([[0, 4, 5]], ROW, margin_m=1e-6)
    assert rows_of(found) == [(5, 5)]
    assert found.passed_over["in the margin of the frame"] == 2


def test_a_patch_that_shows_an_earlier_measurement_is_not_measured() -> None:
    measured = FRAME.to_metres(np.array([[5.0, 4.0]]))  # 1 um beside (5, 5), half a micrometre from its 1 px patch
    for radius_m, window_px, kept in ((0.4e-6, 1, True), (0.6e-6, 1, False), (0.4e-6, 3, False), (0.0, 3, True)):
        found = places([[5, 4]], ROW, measured_xy=measured, damage_radius_m=radius_m, window_px=window_px)
        assert ((5, 5) in rows_of(found)) is kept
        assert found.passed_over["in patches that show an earlier measurement"] == int(not kept)


@pytest.mark.parametrize("policy", ["ivr", "area", "spread"])
def test_altered_patches_are_measured_if_no_others_are_left(policy: str) -> None:
    measured = FRAME.to_metres(np.array([[5.0, 4.0]]))
    options = {"measured_xy": measured, "damage_radius_m": 0.6e-6, "window_px": 1, "policy": policy, "prototypes": 0}
    others = len(ROW) - 1
    assert (5, 5) not in rows_of(places([[*range(len(ROW))]], ROW, points=others, **options))
    assert rows_of(places([[*range(len(ROW))]], ROW, points=others + 1, **options))[-1] == (5, 5)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["ivr", "area", "spread"])
def test_every_cluster_gets_its_prototypes_before_anything_else(policy: str) -> None:
    found = places([[0, 1, 2], [3], [5, 4]], ROW, policy=policy, prototypes=2, points=6)
    assert [(r.cluster, r.rank) for r in found.requests[:5]] == [(0, 0), (1, 0), (2, 0), (0, 1), (2, 1)]
    assert rows_of(found)[:5] == [ROW[i] for i in (0, 3, 5, 1, 4)]


@pytest.mark.parametrize("policy", ["ivr", "area", "spread"])
def test_after_the_prototypes_all_key_points_can_be_selected(policy: str) -> None:
    points = [(0, c) for c in range(10)]
    found = places([[0, 1, 2]], points, policy=policy, points=3, patch_share=0.0)
    assert rows_of(found)[0] == (0, 0)
    assert found.requests[1].col > 2  # far from the first
    assert found.beyond_core == len([r for r in found.requests if r.col > 2])
    assert places([[0]], points, policy=policy, points=99).beyond_core == 9


def test_the_papers_policy_selects_core_points_only() -> None:
    found = places([[0, 1], [2]], ROW, points=6)
    assert (len(found.requests), found.beyond_core) == (3, 0)


def test_a_total_number_of_points_replaces_that_for_each_cluster() -> None:
    assert [r.cluster for r in places([[0, 1, 2], [3]], ROW, points=4, per_cluster=1).requests] == [0, 1, 0, 0]


def test_mixed_core_points_are_counted_unless_they_are_selected() -> None:
    found = places([[0, 1], [3]], ROW, mixed=(2, 5))
    assert found.passed_over["of mixed patches"] == 2
    assert places([[0, 1], [3]], ROW, mixed=(2, 5), policy="ivr", points=6).passed_over["of mixed patches"] == 0


def test_the_next_place_is_one_that_measured_places_do_not_predict() -> None:
    points = [(0, 0), (0, 1), (9, 9), (9, 8)]
    measured = FRAME.to_metres(np.array([[0.0, 0.5]]))
    found = places([[0, 1, 2, 3]], points, policy="ivr", points=1, prototypes=0, measured_xy=measured, patch_share=0.0)
    assert found.requests[0].row == 9


def test_key_points_on_one_side_are_measured_where_they_are_most_informative_about_the_whole_frame() -> None:
    points = [(r, c) for r in range(10) for c in range(4)]
    nodes = np.array([(r, c) for r in range(10) for c in range(10)])
    alone = pool([list(range(40))], points)
    whole = replace(alone, targets_rc=nodes, features=np.zeros((140, 1)))
    settings_ = RecommendSettings(points=1, prototypes=0, spacing_m=0.0, patch_share=0.0, position_length=0.5)
    cols = [
        recommend(given, FRAME, Limits(), NOWHERE, settings_, "d", np.random.default_rng(0)).requests[0].col
        for given in (alone, whole)
    ]
    assert cols[0] in (1, 2)
    assert cols[1] == 3


@st.composite
def situations(draw: st.DrawFn) -> dict:
    size, spacing = st.floats(1e-7, 2e-5), st.sampled_from([0.0, 1e-7, 1e-6])
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
    n = min(draw(st.integers(1, 60)), rows * cols)
    points = np.stack(np.unravel_index(rng.choice(rows * cols, n, replace=False), (rows, cols)), axis=1)
    labels, share = rng.integers(0, 3, n), draw(st.sampled_from([0.3, 1.0]))
    reach = draw(st.floats(1e-6, 5e-5))
    limits = Limits(
        x_min_m=-reach,
        x_max_m=reach,
        y_min_m=-reach / 2,
        y_max_m=reach,
        spacing_min_m=draw(spacing),
        points_max=draw(st.integers(0, 20)),
    )
    inside = np.stack([rng.uniform(0, rows - 1, 5), rng.uniform(0, cols - 1, 5)], axis=1)
    return {
        "cores": [np.flatnonzero((labels == k) & (rng.random(n) < share)).tolist() for k in range(3)],
        "points_rc": [tuple(point) for point in points.tolist()],
        "frame": frame,
        "limits": limits,
        "measured_xy": frame.to_metres(inside),
        "spacing_m": draw(spacing),
        "policy": draw(st.sampled_from(["ivr", "equal", "area", "spread"])),
        "points": draw(st.one_of(st.none(), st.integers(1, 40))),
        "prototypes": draw(st.integers(0, 3)),
        "damage_radius_m": draw(st.floats(0, 1e-6)),
        "margin_m": draw(st.floats(0, 1e-6)),
        "window_px": draw(st.integers(1, 9)),
    }


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(situation=situations())
def test_no_place_is_ever_outside_limits_or_frame_or_too_near_to_another(situation: dict) -> None:
    found = places(**situation)
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
    for k in range(3):
        ranks = [r.rank for r in found.requests if r.cluster == k]
        assert ranks == list(range(len(ranks)))
    pixels = [(r.row, r.col) for r in found.requests]
    assert len(set(pixels)) == len(pixels)
    counted = len(found.requests) + sum(found.passed_over.values())
    assert counted <= len(situation["points_rc"])


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(situation=situations())
def test_round_after_round_no_place_is_measured_twice_and_prototypes_come_first(situation: dict) -> None:
    situation = situation | {"points": 4, "prototypes": 1, "damage_radius_m": 0.0}
    spacing = max(situation["spacing_m"], situation["limits"].spacing_min_m)
    measured = situation.pop("measured_xy")
    points = situation["points_rc"]
    core = {(*points[i], k) for k, rows in enumerate(situation["cores"]) for i in rows}
    for _ in range(3):
        found = places(**situation, measured_xy=measured)
        places_m = np.array([[r.x_m, r.y_m] for r in found.requests]).reshape(-1, 2)
        for i, place in enumerate(places_m):
            before = np.concatenate([measured, places_m[:i]])
            assert np.hypot(*(before - place).T).min() >= spacing
        in_core = [(r.row, r.col, r.cluster) in core for r in found.requests]
        first = next((i for i, r in enumerate(found.requests) if r.rank > 0 or not in_core[i]), len(in_core))
        with_prototype = {r.cluster for r in found.requests[:first]}
        later = {r.cluster for r, is_core in zip(found.requests[first:], in_core[first:], strict=True) if is_core}
        assert later <= with_prototype
        measured = np.concatenate([measured, places_m])
