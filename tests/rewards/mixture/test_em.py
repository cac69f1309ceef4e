import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from rewards.mixture.em import EMSettings, Whitening, fit_mixture
from rewards.mixture.gmm import fit_grid, free_parameters
from tests.support.data.clouds import blobs


def uneven(seed: int, d: int = 2) -> np.ndarray:
    """Touching clusters of unequal size, width and elongation."""
    rng = np.random.default_rng(seed)
    parts = []
    for n, spread in ((400, 0.2), (150, 0.5), (600, 0.1), (80, 1.0)):
        shape = rng.standard_normal((d, d)) * spread
        parts.append(rng.standard_normal((n, d)) @ shape + rng.uniform(-1.5, 1.5, d))
    return np.concatenate(parts)


@pytest.mark.slow
@pytest.mark.parametrize("d", [2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_likelihoods_agree_with_scikit_learn_or_are_higher(d: int, seed: int) -> None:
    z = uneven(seed, d)
    for fit in fit_grid(z, np.random.default_rng(seed), components=(1, 2, 4, 7)):
        reference = GaussianMixture(fit.K, n_init=3, max_iter=500, random_state=seed).fit(z)
        assert fit.log_likelihood >= reference.score(z) - 0.05


def test_bic_and_aic_are_those_of_scikit_learn_for_one_gaussian() -> None:
    z = uneven(0)
    (fit,) = fit_grid(z, np.random.default_rng(0), components=(1,))
    reference = GaussianMixture(1).fit(z)
    assert fit.bic == pytest.approx(reference.bic(z) / len(z), rel=1e-6)
    assert fit.aic == pytest.approx(reference.aic(z) / len(z), rel=1e-6)
    assert free_parameters(1, 2) == reference._n_parameters()


def test_the_reported_likelihood_is_that_of_the_reported_mixture() -> None:
    z = uneven(1)
    for fit in fit_grid(z, np.random.default_rng(0), components=(1, 3, 6)):
        joint = fit.mixture.log_joint(z)
        assert fit.log_likelihood == pytest.approx(np.logaddexp.reduce(joint, axis=1).mean(), abs=2e-3)


def test_well_separated_blobs_are_found_where_they_are() -> None:
    z = blobs(4)
    whitening = Whitening.of(z)
    mixture = whitening.undo(fit_mixture(whitening.apply(z), 4, np.random.default_rng(0)).mixture)
    centres = np.array([[2, 0], [0, 2], [-2, 0], [0, -2]], dtype=float)
    distance = np.linalg.norm(mixture.means[:, None] - centres, axis=2).min(axis=0)
    assert distance.max() < 0.05
    assert mixture.weights == pytest.approx(0.25, abs=0.01)
    assert np.sqrt(np.trace(mixture.covariances, axis1=1, axis2=2) / 2) == pytest.approx(0.15, rel=0.15)


def test_the_same_generator_state_gives_the_same_fit() -> None:
    z = uneven(2)
    one, two = (fit_mixture(z, 5, np.random.default_rng(3)) for _ in range(2))
    assert one.log_likelihood == two.log_likelihood
    assert np.array_equal(one.mixture.means, two.mixture.means)


def test_points_that_coincide_do_not_break_the_fit() -> None:
    z = np.repeat(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), 50, axis=0)
    for fit in fit_grid(z, np.random.default_rng(0), components=(1, 2, 3, 5)):
        assert np.isfinite(fit.log_likelihood)
        assert np.isfinite(fit.mixture.means).all()


def test_a_latent_without_variance_in_one_direction_does_not_break_the_fit() -> None:
    z = blobs(3)
    z[:, 1] = 2 * z[:, 0]
    for fit in fit_grid(z, np.random.default_rng(0), components=(1, 2, 3)):
        assert np.isfinite(fit.bic)


def test_more_components_than_points_are_refused_with_numbers() -> None:
    with pytest.raises(ValueError, match="3 points cannot be fitted by 5"):
        fit_mixture(np.zeros((3, 2)), 5, np.random.default_rng(0), EMSettings())


def test_responsibilities_sum_to_one_and_labels_are_their_maximum() -> None:
    z = uneven(0)
    mixture = fit_mixture(z, 4, np.random.default_rng(0)).mixture
    tau = mixture.responsibilities(z)
    assert tau.sum(axis=1) == pytest.approx(1)
    assert np.array_equal(tau.argmax(axis=1), mixture.labels(z))
