"""The few calls into the agent that the benchmarks of its engine rest on, gathered in one place."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from agent.config import Config
from agent.core import Agent
from agent.decision import ConfigurationRecord, DecisionRecord
from agent.executor import Workers
from agent.search import _choose as choose
from agent.search import compare
from agent.workflow.channels import stack_channels
from agent.workflow.errors import UnusableScanError
from agent.workflow.keypoints import METHODS, find_keypoints
from agent.workflow.kinds import GEOMETRIC_LATENTS
from agent.workflow.patches import cut_patches
from benchmarks.processes import Meter
from instrument_adapters.scan import Scan

SWEEP_SEEDS = 3


class NotMeasurableError(RuntimeError):
    """The engine has no such function yet, so that there is nothing to measure."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """What all models of a search see: images (C, rows, cols), key points (n, 2), and which of them are held out (n,)."""

    images: np.ndarray
    points_rc: np.ndarray
    held_out: np.ndarray

    def patches(self, window_px: int) -> np.ndarray:
        """Shape (n, window, window), float32, in [0, 1]."""
        return cut_patches(self.images, self.points_rc, window_px)[:, 0]


def sweep_config(
    windows_px: Sequence[int],
    invariances: Sequence[str] = ("v", "r", "rt"),
    *,
    seeds: int = SWEEP_SEEDS,
    seed: int = 0,
    steps: int | None = None,
    spacing_px: float = 5.0,
    workers: int = 2,
    **more: Any,
) -> Config:
    """VAEs on the amplitude, of all windows and invariances; `more` are keys of the configuration."""
    return Config.model_validate(
        {
            "seed": seed,
            "scan": {"channels": "amplitude", "spacing_px": spacing_px},
            "search": {
                "windows_px": list(windows_px),
                "invariances": list(invariances),
                "families": ["vae"],
                "seeds": seeds,
                "workers": workers,
            },
            "train": {} if steps is None else {"steps": steps},
        }
        | more
    )


def default_config(
    *,
    seed: int = 0,
    seeds: int | None = None,
    steps: int | None = None,
    windows_px: Sequence[int] = (),
    invariances: Sequence[str] = (),
) -> Config:
    """The default search, with another seed or budget, or on fewer windows or invariances."""
    search: dict[str, Any] = {} if seeds is None else {"seeds": seeds}
    search |= {"windows_px": list(windows_px)} if windows_px else {}
    search |= {"invariances": list(invariances)} if invariances else {}
    return Config.model_validate({"seed": seed, "search": search, "train": {} if steps is None else {"steps": steps}})


def prepare(scan: Scan, config: Config) -> Prepared:
    """The amplitude, the key points and the held-out split that a search with `config` uses."""
    from agent.workflow.train import split_held_out

    stack = stack_channels(
        scan, scan.find_channel(config.channel), "amplitude", config.scan.low_percentile, config.scan.high_percentile
    )
    keypoints = find_keypoints(
        stack.image,
        METHODS["canny_walls"],
        spacing_px=config.scan.spacing_px,
        largest_window_px=max(config.search.windows_px),
        rng=np.random.default_rng([config.seed, 0]),
    )
    n = len(keypoints.points_rc)
    held_out = split_held_out(n, config.train.held_out, np.random.default_rng([config.seed, 1]))
    return Prepared(stack.values, keypoints.points_rc, held_out)


def train_one(prepared: Prepared, config: Config, window_px: int, invariance: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Training and encoding of one configuration, all seeds together, on one thread: CPU seconds and held-out ELBO a pixel.

    To be called in a worker: it loads PyTorch.
    """
    from agent.workflow.pipeline import RepresentTask, represent
    from agent.workflow.vae import ModelSpec

    spec = ModelSpec(window_px, invariance)
    task = RepresentTask(prepared.images, prepared.points_rc, prepared.held_out, spec, tuple(seeds), config.train)
    before = time.process_time()
    representations = represent(task)
    cpu_s = time.process_time() - before
    return {"cpu_s": cpu_s, "steps": config.train.steps, "elbo_per_px": [r.elbo_per_px for r in representations]}


def decide(scan: Scan, config: Config) -> tuple[DecisionRecord, Meter]:
    """The decision on `scan`, and what it cost, the start of the workers included."""
    with Meter() as meter, Workers(config.search.workers, config.directory) as workers:
        decision = Agent(config, workers).on_scan(scan, progress=meter.progress)
    return decision.record, meter


def warm(first: Scan, second: Scan, config: Config) -> dict[str, float]:  # noqa: ARG001
    """Seconds of the decision on `second` that starts from the one on `first`, and how good its models are.

    Returns
    -------
    dict
        wall_s and cpu_s of the warm search; cold_wall_s and cold_cpu_s of one on `second` that starts from nothing;
        elbo_below_cold_per_px, by how much the held-out ELBO of the chosen configuration is worse than after the cold search.

    Raises
    ------
    NotMeasurableError
        As long as a search cannot start from an earlier one.
    """
    raise NotMeasurableError("a search cannot yet start from the last decision on the same sample")


def first_recommendation(scan: Scan, config: Config) -> float:  # noqa: ARG001
    """Seconds from the scan to the first valid recommendation, with workers that are already up.

    Raises
    ------
    NotMeasurableError
        As long as a search says nothing before its end.
    """
    raise NotMeasurableError("a search does not yet recommend anything before its end")


def summary(scan: Scan, config: Config) -> dict[str, Any]:
    """A decision as plain values: outcome, choice, configurations and candidates; a scan of no use is "not_resolvable"."""
    try:
        record, meter = decide(scan, config)
    except UnusableScanError as error:
        return {"outcome": "not_resolvable", "reason": str(error), "configurations": [], "candidates": []}
    kept = {"candidate_id", "window_px", "invariance", "variant", "latent_dim", "seed", "elbo_per_px", "value", "guarded_out"}
    return {
        "outcome": record.outcome,
        "reason": record.explanation,
        "chosen": record.chosen,
        "points": record.keypoints_used,
        "configurations": [c.model_dump(mode="json") for c in record.configurations],
        "candidates": [c.model_dump(mode="json", include=kept) for c in record.candidates],
        "cpu_s": meter.cpu_s,
        "wall_s": meter.wall_s,
    }


def name_of(configuration: Mapping[str, Any]) -> str:
    """What tells configurations apart, such as "rt-w9"."""
    parts = (configuration["invariance"], f"w{configuration['window_px']}", configuration.get("variant", ""))
    return "-".join(part for part in parts if part)


def is_vae(invariance: str) -> bool:
    """Whether the short name is a VAE's, not a plain family's."""
    return invariance in GEOMETRIC_LATENTS


def ranking(summaries: Sequence[Mapping[str, Any]], *, vae_only: bool = False) -> list[ConfigurationRecord]:
    """Configurations compared by the decision rule of the search, all summaries' candidates together; best first."""
    return compare(_candidates(summaries, vae_only))


def tie_set(summaries: Sequence[Mapping[str, Any]], *, vae_only: bool) -> list[str]:
    """Configurations that the decision rule of the search does not tell from the best."""
    return [name_of(c.model_dump()) for c in ranking(summaries, vae_only=vae_only) if c.in_tie_set]


def choice(one: Mapping[str, Any], *, vae_only: bool) -> str | None:
    """The configuration that the decision rule chooses among the candidates of one summary."""
    candidates = _candidates([one], vae_only)
    chosen = choose(candidates, compare(candidates))
    return None if chosen is None else chosen.configuration.name


def single_seed_choice(one: Mapping[str, Any], *, vae_only: bool) -> str | None:
    """What the largest reward among the first seed's models chooses, without seeds and ties: the paper's way."""
    first = min((c["seed"] for c in one["candidates"]), default=0)
    judged = [c for c in _judged(one, vae_only) if c["seed"] == first]
    return name_of(max(judged, key=lambda c: c["value"])) if judged else None


def _judged(one: Mapping[str, Any], vae_only: bool) -> list[Mapping[str, Any]]:
    judged = [c for c in one["candidates"] if c["guarded_out"] is None and c["value"] is not None]
    return [c for c in judged if is_vae(c["invariance"]) or not vae_only]


@dataclass(frozen=True)
class _Spec:
    window_px: int
    invariance: str
    latent_dim: int


@dataclass(frozen=True)
class _Configuration:
    spec: _Spec
    name: str
    variant: str

    @property
    def trained(self) -> bool:
        return is_vae(self.spec.invariance)


def _candidates(summaries: Sequence[Mapping[str, Any]], vae_only: bool) -> list[Any]:
    """What the decision rule looks at of each judged candidate; the types are those of its configuration."""
    out = []
    for one in summaries:
        types = {name_of(c): c["types"] for c in one["configurations"]}
        for c in _judged(one, vae_only):
            name = name_of(c)
            spec = _Spec(c["window_px"], c["invariance"], c["latent_dim"])
            configuration = _Configuration(spec, name, c.get("variant", ""))
            elbo = math.nan if c["elbo_per_px"] is None else c["elbo_per_px"]
            out.append(
                SimpleNamespace(
                    configuration=configuration,
                    spec=spec,
                    seed=c["seed"],
                    score=SimpleNamespace(value=c["value"], mixture=SimpleNamespace(n_components=types[name])),
                    representation=SimpleNamespace(elbo_per_px=elbo, trained=configuration.trained),
                )
            )
    return out
