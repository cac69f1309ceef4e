"""Configurations that a search compares, in the order of the configuration file, and their candidates, one for each seed."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from jaxtyping import Bool, Int

from agent.config.model import Config
from agent.preprocessing.subsampling import split_held_out, stratified_subset
from agent.representation.classical import PlainSpec
from agent.representation.classical.amplitude import MAX_LATENTS as AMPLITUDE_LATENTS
from agent.representation.classical.coherent import enough_pairs
from agent.representation.vae.spec import ModelSpec
from agent.schema.decision import configuration_name
from agent.schema.model_kinds import WALL_COHERENT
from agent.schema.seed_streams import Stream, stream
from agent.search.prepared_scan import PreparedScan
from rewards.base import Representation, Score


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a set of key points that a search uses.

    Parameters
    ----------
    judged
        Rows that are represented and scored; all, if there are not too many.
    fitted
        Rows whose patches are trained on.
    held_out
        Rows whose patches give the held-out ELBO.
    """

    judged: Int[np.ndarray, " n"]
    fitted: Int[np.ndarray, " m"]
    held_out: Int[np.ndarray, " h"]


@dataclass(frozen=True)
class Configuration:
    """Key-point method, channel mode, and model or plain family. It has one candidate for each seed.

    Parameters
    ----------
    spec
        Model or plain family.
    keypoints
        Key-point method, a key of `PreparedScan.keypoints`.
    channels
        Channel mode, a key of `PreparedScan.stacks`.
    variant
        Differences from other configurations of the same window and kind; empty if there are none.
    """

    spec: ModelSpec | PlainSpec
    keypoints: str
    channels: str
    variant: str = ""

    @property
    def name(self) -> str:
        """Name such as "rt-w9" or "polar-w15-vector"."""
        return configuration_name(self.spec.invariance, self.spec.window_px, self.variant)

    @property
    def trained(self) -> bool:
        """True for a VAE."""
        return isinstance(self.spec, ModelSpec)


@dataclass(frozen=True, eq=False)
class Candidate:
    """One representation, by a trained model or a plain family, with its score if it is eligible.

    Parameters
    ----------
    configuration
        Configuration to which it belongs.
    seed
        Seed of the model, or of the resample of a plain family.
    representation
        Representation of the judged key points.
    kept
        Shape (n,): true for the points that the density filter keeps.
    state
        Weights of the model, or basis of the plain family, as one vector; None if it cannot represent other points.
    steps
        Number of optimiser steps spent on it.
    guarded_out
        Reason why it is not eligible; None if it is.
    score
        Score of an eligible candidate; None before scoring.
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
        """Id such as "rt-w9-s0" or "polar-w15-s0"."""
        return f"{self.configuration.name}-s{self.seed}"


def rows_of(points_rc: Int[np.ndarray, "n 2"], config: Config) -> Rows:
    """Rows of key points that are judged, trained on and held out: all of them, or as many as the configuration allows.

    The held-out ones are taken from those for training; there is at least one.
    """
    for_training = stratified_subset(points_rc, config.train.most_patches, stream(config.seed, Stream.FITTED_PATCHES))
    held_out = split_held_out(len(for_training), config.train.held_out, stream(config.seed, Stream.HELD_OUT))
    judged = stratified_subset(points_rc, config.search.most_points, stream(config.seed, Stream.JUDGED_POINTS))
    return Rows(judged, for_training[~held_out], for_training[held_out])


def seeds_of(config: Config) -> tuple[int, ...]:
    """Seeds of the models of each configuration."""
    return tuple(config.seed * 1000 + i for i in range(config.search.seeds))


def vae_configurations(config: Config, scan: PreparedScan) -> list[Configuration]:
    """All configurations of VAEs: key points × channels × windows × invariances × latent dimensions × β."""
    search = config.search
    if "vae" not in search.families:
        return []
    axes = (search.windows_px, search.invariances, search.latent_dims, search.betas)
    out = []
    for keypoints, mode in _views(scan, scan.vae_modes):
        for window, invariance, dim, beta in product(*axes):
            default = ModelSpec(window, invariance, dim, len(scan.stacks[mode]))
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
                _view_name(config, scan.vae_modes, keypoints, mode),
            ]
            out.append(Configuration(spec, keypoints, mode, "-".join(p for p in parts if p)))
    return out


def plain_configurations(config: Config, scan: PreparedScan) -> list[Configuration]:
    """All configurations of plain families: key points × channels × families × windows."""
    search, out = config.search, []
    for keypoints, mode in _views(scan, scan.plain_modes):
        channels, variant = len(scan.stacks[mode]), _view_name(config, scan.plain_modes, keypoints, mode)
        for family in search.families:
            if family in WALL_COHERENT and not enough_pairs(scan.keypoints[keypoints].walls):
                continue
            if family in ("multi", "coherent_multi"):
                windows = tuple(sorted(search.windows_px))
                spec = PlainSpec(windows[-1], family, search.plain_latent_dim, channels, windows)
                out.append(Configuration(spec, keypoints, mode, variant))
            elif family not in ("vae", "consensus"):
                dim = min(search.plain_latent_dim, AMPLITUDE_LATENTS) if family == "amplitude" else search.plain_latent_dim
                specs = [PlainSpec(w, family, dim, channels) for w in search.windows_px]
                out += [Configuration(spec, keypoints, mode, variant) for spec in specs]
    return out


def _views(scan: PreparedScan, modes: Sequence[str]) -> list[tuple[str, str]]:
    return [(keypoints, mode) for keypoints in scan.keypoints for mode in modes]


def _view_name(config: Config, modes: Sequence[str], keypoints: str, mode: str) -> str:
    parts = [mode if len(modes) > 1 else "", keypoints.replace(":", ".") if len(config.keypoints) > 1 else ""]
    return "-".join(p for p in parts if p)
