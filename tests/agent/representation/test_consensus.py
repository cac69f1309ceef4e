from dataclasses import replace

import numpy as np
import pytest

from agent.representation.consensus import consensus_types
from rewards.base import Mixture, Representation
from rewards.guards import guard_seeds

N = 900
TYPES = 4
TYPE_OF = np.random.default_rng(0).integers(TYPES, size=N)
POINTS = np.stack([np.arange(N), np.arange(N)], axis=1)
Member = tuple[Representation, Mixture]


def member(groups: np.ndarray, seed: int = 0, window: int = 9, spread: float = 0.1) -> Member:
    """A representation on a line, with the points of group g around the position g, and its mixture."""
    rng = np.random.default_rng(seed)
    K = int(groups.max()) + 1
    z, turned, mirrored = (groups[:, None] + spread * rng.standard_normal((N, 1)) for _ in range(3))
    mixture = Mixture(np.full(K, 1 / K), np.arange(K, dtype=np.float64)[:, None], np.full((K, 1, 1), spread**2))
    return Representation(z, np.zeros_like(z), turned, mirrored, POINTS, window, "r", seed, -0.5, -0.4), mixture


def one_against_the_rest(copies: int = 5) -> list[Member]:
    return [member((t == TYPE_OF).astype(np.int64), 10 * c + t) for c in range(copies) for t in range(TYPES)]


def consensus_of(members: list[Member], latent_dim: int, seed: int) -> Representation:
    return consensus_types(members, latent_dim, seed)[0]


def separated(z: np.ndarray, labels: np.ndarray) -> float:
    """Share of points nearer to their own type's centre than to any other's."""
    centres = np.stack([z[labels == t].mean(axis=0) for t in np.unique(labels)])
    nearest = np.linalg.norm(z[:, None] - centres, axis=2).argmin(axis=1)
    return float((np.unique(labels)[nearest] == labels).mean())


def test_the_consensus_separates_all_types_if_each_member_separates_one() -> None:
    members = one_against_the_rest()
    assert max(separated(r.z, TYPE_OF) for r, _ in members) < 0.8
    together = consensus_of(members, 6, 0)
    assert together.z.shape == (N, TYPES - 1)
    for view in (together.z, together.z_rotated, together.z_mirrored):
        assert separated(view, TYPE_OF) > 0.99


def test_its_types_are_those_that_all_members_together_separate() -> None:
    together, types = consensus_types(one_against_the_rest(), 6, 0)
    labels = types.labels(together.z)
    assert types.n_components == TYPES
    assert types.weights == pytest.approx(np.bincount(labels) / N)
    for view in (together.z, together.z_rotated, together.z_mirrored):
        found = types.labels(view)
        assert all((np.bincount(found[t == TYPE_OF]).max() >= 0.99 * (t == TYPE_OF).sum()) for t in range(TYPES))
        assert len({int(np.bincount(found[t == TYPE_OF]).argmax()) for t in range(TYPES)}) == TYPES


def test_latents_have_unit_variance_without_correlation_and_pass_the_guards() -> None:
    together = consensus_of(one_against_the_rest(), 3, 1)
    assert np.cov(together.z, rowvar=False, bias=True) == pytest.approx(np.eye(3), abs=1e-9)
    assert guard_seeds([together], [N]) == [None]


def test_scattered_assignments_make_no_latent() -> None:
    members = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        scattered = np.where(rng.random(N) < 0.2, rng.integers(TYPES, size=N), TYPE_OF)
        members.append(member(scattered, seed))
    together = consensus_of(members, 10, 0)
    assert together.z.shape[1] == TYPES - 1
    assert max(separated(r.z, TYPE_OF) for r, _ in members) < 0.9
    assert separated(together.z, TYPE_OF) > 0.97


def test_a_rare_type_that_half_of_the_members_separate_makes_a_latent() -> None:
    rare = (np.arange(N) % 10 == 0).astype(np.int64)
    blind = np.arange(N) // (N // 3)
    seeing = np.where(rare == 1, 3, blind)
    members = [member(groups, seed) for seed in range(10) for groups in (blind, seeing)]
    assert separated(consensus_of(members, 6, 0).z, rare) > 0.99


def test_the_consensus_of_members_without_types_is_rejected_as_collapsed() -> None:
    together, types = consensus_types([member(np.zeros(N, dtype=np.int64), s) for s in range(3)], 4, 0)
    assert types.n_components == 1
    assert together.z.shape == (N, 1)
    (reason,) = guard_seeds([together], [N])
    assert reason is not None
    assert reason.startswith("collapsed")


def test_the_same_seed_draws_the_same_members() -> None:
    members = one_against_the_rest(2)
    one, again, other = (consensus_of(members, 3, seed) for seed in (3, 3, 4))
    assert np.array_equal(one.z, again.z)
    first, second = (consensus_types(members, 3, 3)[1] for _ in range(2))
    assert np.array_equal(first.means, second.means)
    assert not np.allclose(one.z, other.z)


def test_points_in_another_order_have_the_same_latents() -> None:
    members = one_against_the_rest()
    order = np.random.default_rng(5).permutation(N)
    together = consensus_of(members, 3, 0)
    reordered = consensus_of([(r.take(order), m) for r, m in members], 3, 0)
    assert reordered.z == pytest.approx(together.z[order], abs=1e-8)


def test_the_consensus_is_labelled_as_one() -> None:
    together = consensus_of([member(TYPE_OF, 0, window=9), member(TYPE_OF, 1, window=21), member(TYPE_OF, 2, window=13)], 2, 7)
    assert (together.window_px, together.invariance, together.seed, together.trained) == (21, "consensus", 7, False)
    assert np.isnan([together.elbo_per_px, together.reconstruction_per_px]).all()
    assert np.array_equal(together.points_rc, POINTS)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ([], "at least two representations, 0 given"),
        ([member(TYPE_OF)], "at least two representations, 1 given"),
        ([member(TYPE_OF), (member(TYPE_OF)[0].take(np.arange(N)[::-1]), member(TYPE_OF)[1])], "the same points"),
        ([member(TYPE_OF), (replace(member(TYPE_OF)[0], z=np.full((N, 1), np.nan)), member(TYPE_OF)[1])], "finite latents"),
    ],
)
def test_members_that_cannot_be_combined_are_refused(members: list[Member], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        consensus_of(members, 2, 0)
