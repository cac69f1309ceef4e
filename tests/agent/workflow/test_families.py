import numpy as np
import pytest

from agent.workflow.families import PlainSpec, polar_magnitudes, represent_plain
from rewards.base import Representation
from rewards.guards import guard_seeds
from tests.agent.workflow.images import two_textures

IMAGE = two_textures(96).astype(np.float32)
IMAGES = ((IMAGE - IMAGE.min()) / np.ptp(IMAGE))[None]
POINTS = np.stack(np.meshgrid(np.arange(12, 84, 4), np.arange(12, 84, 4), indexing="ij"), axis=-1).reshape(-1, 2)
HELD_OUT = np.arange(len(POINTS)) % 10 == 0
SPECS = [
    PlainSpec(9, "pca", 4),
    PlainSpec(9, "polar", 4),
    PlainSpec(8, "polar", 4),
    PlainSpec(15, "multi", 4, windows_px=(7, 15)),
]


def represented(spec: PlainSpec, seeds: tuple[int, ...] = (0,)) -> list[Representation]:
    return represent_plain(IMAGES, POINTS, HELD_OUT, spec, seeds)


@pytest.mark.parametrize("window", [7, 8, 15])
def test_polar_features_do_not_know_quarter_turns_and_mirrors(window: int) -> None:
    patches = np.random.default_rng(0).random((5, 2, window, window))
    features = polar_magnitudes(patches)
    assert polar_magnitudes(np.rot90(patches, axes=(2, 3))) == pytest.approx(features, abs=1e-12)
    assert polar_magnitudes(np.flip(patches, axis=3)) == pytest.approx(features, abs=1e-12)
    assert np.abs(polar_magnitudes(patches[:, ::-1]) - features).max() > 0.01  # but they know the channels apart


def stripes(angle_rad: float, period_px: float, side: int = 15) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return 0.5 + 0.5 * np.cos(2 * np.pi * (x * np.cos(angle_rad) + y * np.sin(angle_rad)) / period_px)[None, None]


def test_polar_features_of_stripes_depend_on_their_period_and_hardly_on_their_angle() -> None:
    upright = polar_magnitudes(stripes(0.0, 8))
    turned = np.linalg.norm(polar_magnitudes(stripes(0.5, 8)) - upright)
    finer = np.linalg.norm(polar_magnitudes(stripes(0.0, 6)) - upright)
    assert turned < 0.2 * finer


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.invariance}-w{s.window_px}")
def test_latents_have_unit_variance_and_are_the_same_every_time(spec: PlainSpec) -> None:
    one, again = represented(spec)[0], represented(spec)[0]
    assert one.z.shape == (len(POINTS), 4)
    assert one.z.std(axis=0) == pytest.approx(np.ones(4), abs=0.2)
    assert np.array_equal(one.z, again.z)


def test_polar_latents_of_turned_patches_are_those_of_the_patches_and_pca_latents_are_not() -> None:
    pca, polar = (represented(PlainSpec(9, family, 4))[0] for family in ("pca", "polar"))
    assert polar.z_rotated == pytest.approx(polar.z, abs=1e-6)
    assert polar.z_mirrored == pytest.approx(polar.z, abs=1e-6)
    assert np.abs(pca.z_rotated - pca.z).mean() > 0.1


def test_seeds_are_resamples_that_differ_little() -> None:
    one, other = represented(PlainSpec(9, "polar", 2), (0, 1))
    assert not np.array_equal(one.z, other.z)
    assert np.abs(np.corrcoef(one.z[:, 0], other.z[:, 0])[0, 1]) > 0.95


def test_more_components_reconstruct_better_and_polar_features_do_not_say() -> None:
    few, many = (represented(PlainSpec(9, "pca", d))[0].reconstruction_per_px for d in (1, 8))
    assert -1 < few < many < 0
    assert np.isnan(represented(PlainSpec(9, "polar", 4))[0].reconstruction_per_px)


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.invariance}-w{s.window_px}")
def test_a_plain_family_is_never_said_to_have_diverged_or_got_stuck(spec: PlainSpec) -> None:
    made = represented(spec, (0, 1, 2))
    assert guard_seeds(made, [len(POINTS)] * 3) == [None] * 3


def test_a_component_without_variance_is_found_to_have_collapsed() -> None:
    patches_alike = np.zeros_like(IMAGES)
    patches_alike[:, :, 48:] = 1.0
    made = represent_plain(patches_alike, POINTS, HELD_OUT, PlainSpec(3, "polar", 6), (0,))
    (reason,) = guard_seeds(made, [len(POINTS)])
    assert reason is not None
    assert reason.startswith("collapsed")
