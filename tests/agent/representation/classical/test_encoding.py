import numpy as np
import pytest

from agent.errors import SearchCancelledError
from agent.representation.classical import Basis, PlainSpec, encode_plain, represent_plain
from agent.representation.classical.encoding import CHUNK
from rewards.base import Representation
from rewards.guards import guard_seeds
from tests.support.data.images import two_textures

IMAGE = two_textures(96).astype(np.float32)
IMAGES = ((IMAGE - IMAGE.min()) / np.ptp(IMAGE))[None]
POINTS = np.stack(np.meshgrid(np.arange(12, 84, 4), np.arange(12, 84, 4), indexing="ij"), axis=-1).reshape(-1, 2)
HELD_OUT = np.arange(len(POINTS)) % 10 == 0
SPECS = [
    PlainSpec(9, "pca", 4),
    PlainSpec(9, "kmeans", 4),
    PlainSpec(9, "polar", 4),
    PlainSpec(8, "polar", 4),
    PlainSpec(15, "multi", 4, windows_px=(7, 15)),
    PlainSpec(9, "amplitude", 2),
]


def fitted(spec: PlainSpec, seeds: tuple[int, ...] = (0,), images: np.ndarray = IMAGES) -> list[tuple[Representation, Basis]]:
    return represent_plain(images, POINTS, spec, seeds, fit_rc=POINTS[~HELD_OUT], held_out_rc=POINTS[HELD_OUT])


def represented(spec: PlainSpec, seeds: tuple[int, ...] = (0,)) -> list[Representation]:
    return [representation for representation, _ in fitted(spec, seeds)]


@pytest.mark.slow
@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.invariance}-w{s.window_px}")
def test_latents_have_unit_variance_and_are_the_same_every_time(spec: PlainSpec) -> None:
    one, again = represented(spec)[0], represented(spec)[0]
    assert one.z.shape == (len(POINTS), spec.latent_dim)
    assert one.z.std(axis=0) == pytest.approx(np.ones(spec.latent_dim), abs=0.2)
    assert np.array_equal(one.z, again.z)


def test_polar_latents_do_not_change_with_rotation_and_pca_latents_do() -> None:
    pca, polar = (represented(PlainSpec(9, family, 4))[0] for family in ("pca", "polar"))
    assert polar.z_rotated == pytest.approx(polar.z, abs=1e-6)
    assert polar.z_mirrored == pytest.approx(polar.z, abs=1e-6)
    assert np.abs(pca.z_rotated - pca.z).mean() > 0.1


def test_amplitude_latents_do_not_change_with_rotation_and_mirroring_bit_for_bit() -> None:
    one = represented(PlainSpec(9, "amplitude", 2))[0]
    assert np.array_equal(one.z_rotated, one.z)
    assert np.array_equal(one.z_mirrored, one.z)


def test_amplitude_latents_do_not_depend_on_the_other_channels() -> None:
    noise = np.random.default_rng(0).random(IMAGES.shape).astype(np.float32)
    alone, _ = fitted(PlainSpec(9, "amplitude", 2))[0]
    beside, _ = fitted(PlainSpec(9, "amplitude", 2, 2), images=np.concatenate([IMAGES, noise]))[0]
    assert np.array_equal(alone.z, beside.z)


def test_seeds_are_resamples_that_differ_little() -> None:
    one, other = represented(PlainSpec(9, "polar", 2), (0, 1))
    assert not np.array_equal(one.z, other.z)
    assert np.abs(np.corrcoef(one.z[:, 0], other.z[:, 0])[0, 1]) > 0.95


def test_more_components_reconstruct_better_and_polar_features_have_no_reconstruction() -> None:
    few, many = (represented(PlainSpec(9, "pca", d))[0].reconstruction_per_px for d in (1, 8))
    assert -1 < few < many < 0
    assert np.isnan(represented(PlainSpec(9, "polar", 4))[0].reconstruction_per_px)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.invariance}-w{s.window_px}")
def test_a_plain_family_is_never_rejected_as_diverged_or_stuck(spec: PlainSpec) -> None:
    assert guard_seeds(represented(spec, (0, 1, 2)), [len(POINTS)] * 3) == [None] * 3


@pytest.mark.parametrize("family", ["pca", "kmeans", "polar", "amplitude"])
def test_a_component_without_variance_is_rejected_as_collapsed(family: str) -> None:
    two_plateaus = np.zeros_like(IMAGES)
    two_plateaus[:, :, 48:] = 1.0
    representation, _ = fitted(PlainSpec(3, family, 6), images=two_plateaus)[0]
    (reason,) = guard_seeds([representation], [len(POINTS)])
    assert reason is not None
    assert reason.startswith("collapsed")


@pytest.mark.parametrize("family", ["pca", "kmeans"])
def test_more_latents_than_pixels_are_left_without_variance(family: str) -> None:
    representation, _ = fitted(PlainSpec(3, family, 12))[0]
    assert representation.z.shape == (len(POINTS), 12)
    assert not representation.z[:, 9:].any()


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.invariance}-w{s.window_px}")
def test_latents_do_not_depend_on_the_other_points_bit_for_bit(spec: PlainSpec) -> None:
    (representation, basis) = fitted(spec)[0]
    many = np.random.default_rng(0).integers(12, 84, size=(2 * CHUNK + 100, 2))
    z = encode_plain(IMAGES, many, spec, basis)
    alone = np.concatenate([encode_plain(IMAGES, part, spec, basis) for part in np.split(many, [1, 7, CHUNK, CHUNK + 50])])
    assert np.array_equal(z, alone)
    assert np.array_equal(encode_plain(IMAGES, POINTS, spec, basis), representation.z)


def test_the_basis_depends_only_on_the_patches_it_is_fitted_to() -> None:
    fit = {"fit_rc": POINTS[::2], "held_out_rc": POINTS[HELD_OUT]}
    spec = PlainSpec(9, "polar", 4)
    (few, few_basis), (all_of_them, basis) = (represent_plain(IMAGES, p, spec, (0,), **fit)[0] for p in (POINTS[:50], POINTS))
    assert np.array_equal(few_basis.axes, basis.axes)
    assert np.array_equal(few.z, all_of_them.z[:50])


@pytest.mark.parametrize("polls", [0, 1, 2, 4])
def test_encoding_can_be_cancelled_before_the_fit_and_between_chunks(polls: int) -> None:
    answers = iter([False] * polls + [True])
    many = np.tile(POINTS, (4 * CHUNK // len(POINTS), 1))
    with pytest.raises(SearchCancelledError, match="plain family"):
        represent_plain(IMAGES, many, SPECS[0], (0,), fit_rc=POINTS, held_out_rc=POINTS[HELD_OUT], stopped=lambda: next(answers))


@pytest.mark.slow
@pytest.mark.parametrize("window", range(3, 32))
@pytest.mark.parametrize("family", ["pca", "kmeans", "polar", "multi", "amplitude"])
def test_every_window_from_3_to_31_can_be_represented(family: str, window: int) -> None:
    images = np.concatenate([IMAGES, IMAGES[:, ::-1]])
    points = np.random.default_rng(window).integers(16, 80, size=(400, 2))
    spec = PlainSpec(window, family, 2, 2, (3, window) if family == "multi" else ())
    representation, basis = represent_plain(images, points, spec, (0,), fit_rc=points, held_out_rc=points[:20])[0]
    assert guard_seeds([representation], [len(points)]) == [None]
    assert Basis.from_flat(basis.flat(), 2).axes.shape == basis.axes.shape
