import numpy as np
import pytest

from agent.representation.classical import Basis


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("n", [20, 300], ids=["more features than rows", "more rows than features"])
def test_axes_are_those_of_the_covariance_of_the_repeated_rows(n: int) -> None:
    features = rng().random((n, 40)) * np.linspace(1, 3, 40)
    counts = rng().integers(0, 3, size=n)
    basis = Basis.of(features, counts.astype(np.float64), 3)
    repeated = np.repeat(features, counts, axis=0)
    variances, axes = np.linalg.eigh(np.cov(repeated, rowvar=False, bias=True))
    assert basis.centre == pytest.approx(repeated.mean(axis=0))
    assert basis.scale == pytest.approx(np.sqrt(variances[::-1][:3]))
    assert np.abs((basis.axes * axes[:, ::-1][:, :3]).sum(axis=0)) == pytest.approx(np.ones(3))
    assert np.linalg.norm(basis.axes, axis=0) == pytest.approx(np.ones(3))


def test_all_axes_together_give_the_features_back() -> None:
    features = rng().random((50, 6))
    basis = Basis.of(features, np.ones(50), 6)
    assert basis.decode(basis.encode(features)) == pytest.approx(features)


def test_directions_without_variance_are_zero_and_not_stretched() -> None:
    features = np.outer(rng().standard_normal(30), np.ones(4))
    z = Basis.of(features, np.ones(30), 6).encode(features)
    assert z.shape == (30, 6)
    assert z[:, 0].std() == pytest.approx(1)
    assert not z[:, 1:].any()


def test_a_basis_survives_as_one_flat_vector() -> None:
    basis = Basis.of(rng().random((30, 7)), np.ones(30), 3)
    again = Basis.from_flat(basis.flat(), 3)
    assert basis.flat().shape == (3 * 7 + 7 + 3,)
    assert all(np.array_equal(getattr(basis, name), getattr(again, name)) for name in ("axes", "centre", "scale"))


@pytest.mark.parametrize(("length", "latent_dim"), [(32, 3), (3, 3), (31, 4)])
def test_a_vector_of_another_length_is_refused(length: int, latent_dim: int) -> None:
    with pytest.raises(ValueError, match=f"{length} numbers are no basis of {latent_dim} latents"):
        Basis.from_flat(np.zeros(length), latent_dim)
