"""What a search compares: configurations, in the order of the configuration file, and one candidate for each seed of each."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from jaxtyping import Bool, Int

from agent.config.model import Config
from agent.preprocessing.subsampling import split_held_out, stratified_subset
from agent.representation.classical import PlainSpec
from agent.representation.classical.amplitude import MOST_LATENTS as AMPLITUDE_LATENTS
from agent.representation.vae.spec import ModelSpec
from agent.schema.decision import configuration_name
from agent.schema.seed_streams import Stream, stream
from agent.search.prepared_scan import PreparedScan
from rewards.base import Representation, Score


@dataclass(frozen=True, eq=False)
class Rows:
    """Which key points of one set a search works with.

    Parameters
    ----------
    judged
        Represented and judged; all of them where there are not too many.
    fitted, held_out
        Trained on, and kept apart to judge the ELBO.
    """

    judged: Int[np.ndarray, " n"]
    fitted: Int[np.ndarray, " m"]
    held_out: Int[np.ndarray, " h"]


@dataclass(frozen=True)
class Configuration:
    """Key points, channels and a model or plain family; it has a candidate for each seed.

    Parameters
    ----------
    spec
        The model or plain family.
    keypoints, channels
        Names in the scene.
    variant
        What distinguishes it from others of the same window and kind: empty where there is nothing.
    """

    spec: ModelSpec | PlainSpec
    keypoints: str
    channels: str
    variant: str = ""

    @property
    def name(self) -> str:
        """Such as "rt-w9" or "polar-w15-vector"."""
        return configuration_name(self.spec.invariance, self.spec.window_px, self.variant)

    @property
    def trained(self) -> bool:
        """True for a VAE."""
        return isinstance(self.spec, ModelSpec)


@dataclass(frozen=True, eq=False)
class Candidate:
    """One representation by a trained model or a plain family, and, where it was not guarded out, its score.

    Parameters
    ----------
    configuration, seed
        What it is.
    representation
        Of the judged key points.
    kept
        Which of them the density filter keeps.
    state
        Weights of the model, or basis of the plain family, as one vector; None where there is nothing to apply to other
        points.
    steps
        Optimiser steps spent on it.
    guarded_out
        Why it may not be chosen; None if it may.
    score
        Of a candidate that may be chosen.
    """

    configuration: Configuration
    seed: int
    representation: Representation
    kept: Bool[np.ndarray, " n"]
    state: np.ndarray | None = None
    steps: int = 0
    guarded_out: str | None = None
    score: Score | None = None

    @property
    def spec(self) -> ModelSpec | PlainSpec:
        """The model or plain family."""
        return self.configuration.spec

    @property
    def candidate_id(self) -> str:
        """Such as "rt-w9-s0" or "polar-w15-s0"."""
        return f"{self.configuration.name}-s{self.seed}"


def rows_of(points_rc: Int[np.ndarray, "n 2"], config: Config) -> Rows:
    """Which of the key points are judged, trained on and held out: all, or as many as the configuration allows.

    The held-out ones are a share of those that are trained on, at least one.
    """
    trained = stratified_subset(points_rc, config.train.most_patches, stream(config.seed, Stream.FITTED_PATCHES))
    apart = split_held_out(len(trained), config.train.held_out, stream(config.seed, Stream.HELD_OUT))
    judged = stratified_subset(points_rc, config.search.most_points, stream(config.seed, Stream.JUDGED_POINTS))
    return Rows(judged, trained[~apart], trained[apart])


def seeds_of(config: Config) -> tuple[int, ...]:
    """Seeds of the models of each configuration."""
    return tuple(config.seed * 1000 + i for i in range(config.search.seeds))


def vae_configurations(config: Config, scene: PreparedScan) -> list[Configuration]:
    """All VAEs: key points × channels × windows × invariances × latent dimensions × β."""
    search = config.search
    if "vae" not in search.families:
        return []
    axes = (search.windows_px, search.invariances, search.latent_dims, search.betas)
    out = []
    for keypoints, mode in _views(config, scene.vae_modes):
        for window, invariance, dim, beta in product(*axes):
            default = ModelSpec(window, invariance, dim, len(scene.stacks[mode]))
            spec = replace(
                default,
                beta=beta * default.kl_weight,
                decoder=search.decoder,
                likelihood=search.likelihood,
                sampled_px=search.sampled_px,
            )
            parts = [
                f"d{dim}" if len(search.latent_dims) > 1 else "",
                f"b{beta:g}" if len(search.betas) > 1 else "",
                _view_name(config, scene.vae_modes, keypoints, mode),
            ]
            out.append(Configuration(spec, keypoints, mode, "-".join(p for p in parts if p)))
    return out


def plain_configurations(config: Config, scene: PreparedScan) -> list[Configuration]:
    """All plain families: key points × channels × families × windows."""
    search, out = config.search, []
    for keypoints, mode in _views(config, scene.plain_modes):
        channels, variant = len(scene.stacks[mode]), _view_name(config, scene.plain_modes, keypoints, mode)
        for family in search.families:
            if family == "multi":
                windows = tuple(sorted(search.windows_px))
                spec = PlainSpec(windows[-1], family, search.plain_latent_dim, channels, windows)
                out.append(Configuration(spec, keypoints, mode, variant))
            elif family not in ("vae", "consensus"):
                dim = min(search.plain_latent_dim, AMPLITUDE_LATENTS) if family == "amplitude" else search.plain_latent_dim
                specs = [PlainSpec(w, family, dim, channels) for w in search.windows_px]
                out += [Configuration(spec, keypoints, mode, variant) for spec in specs]
    return out


def _views(config: Config, modes: Sequence[str]) -> list[tuple[str, str]]:
    return [(keypoints, mode) for keypoints in config.keypoints for mode in modes]


def _view_name(config: Config, modes: Sequence[str], keypoints: str, mode: str) -> str:
    parts = [mode if len(modes) > 1 else "", keypoints.replace(":", ".") if len(config.keypoints) > 1 else ""]
    return "-".join(p for p in parts if p)
