"""The wall-coherent projection finds what is constant along walls, however little of the variance it is."""

import numpy as np
import pytest

from agent.representation.classical.coherent import coherent_basis, enough_pairs
from agent.representation.classical.pca import Basis
from rewards.base import WallGraph


def features(seed: int = 0, walls: int = 60, length: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(features (n, 8) of which the last is constant along each wall and small, its value, pairs along walls)."""
    rng = np.random.default_rng(seed)
    constant = np.repeat(rng.normal(size=walls), length)
    loud = rng.normal(size=(walls * length, 7)) * np.arange(8, 1, -1)
    pairs = np.array(
        [(w * length + i, w * length + j) for w in range(walls) for i in range(length) for j in range(i + 1, length)]
    )
    return np.column_stack([loud, 0.5 * constant]), constant, pairs


def test_the_first_direction_is_the_constant_one():
    x, constant, pairs = features()
    z = coherent_basis(x, np.ones(len(x)), pairs, 2).encode(x)
    assert abs(np.corrcoef(z[:, 0], constant)[0, 1]) > 0.98
    loudest = Basis.of(x, np.ones(len(x)), 2).encode(x)
    assert abs(np.corrcoef(loudest[:, 0], constant)[0, 1]) < 0.2


def test_latents_have_unit_variance_and_are_not_correlated():
    x, _, pairs = features()
    z = coherent_basis(x, np.ones(len(x)), pairs, 3).encode(x)
    assert np.cov(z.T, bias=True) == pytest.approx(np.eye(3), abs=1e-9)


def test_a_pair_counts_as_often_as_its_rows():
    x, _, pairs = features(walls=20)
    counts = np.random.default_rng(1).integers(0, 3, len(x)).astype(float)
    weighted = coherent_basis(x, counts, pairs, 2)
    rows = np.repeat(np.arange(len(x)), counts.astype(int))
    copies = [np.flatnonzero(rows == i) for i in range(len(x))]
    repeated = np.array([(a, b) for i, j in pairs for a in copies[i] for b in copies[j]])
    drawn = coherent_basis(x[rows], np.ones(len(rows)), repeated, 2)
    assert weighted.axes == pytest.approx(drawn.axes, abs=1e-8)


def test_more_directions_than_features_are_zero():
    x, _, pairs = features()
    basis = coherent_basis(x[:, :3], np.ones(len(x)), pairs, 5)
    assert basis.axes.shape == (3, 5)
    assert not basis.axes[:, 3:].any()


def test_few_pairs_are_not_enough():
    pairs = np.column_stack([np.arange(300), np.arange(300) + 1])
    assert enough_pairs(WallGraph(pairs, np.full(300, 10.0)))
    assert not enough_pairs(WallGraph(pairs, np.full(300, 40.0)))
    assert not enough_pairs(WallGraph.empty())
