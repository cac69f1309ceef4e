"""All calls into the agent that benchmarks of its search make."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from agent.config.model import Config
from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs, SearchControl
from agent.errors import UnusableScanError
from agent.preprocessing.patches import cut_patches
from agent.representation.tasks import RepresentTask, represent
from agent.representation.vae.spec import ModelSpec
from agent.schema.decision import ConfigurationRecord, Decision, DecisionRecord
from agent.schema.model_kinds import GEOMETRIC_LATENTS
from agent.search.candidates import rows_of
from agent.search.prepared_scan import prepare_scan
from agent.search.ranking import choose, compare
from agent.workers.factory import workers_for
from benchmarks.harness.processes import Meter
from instrument_adapters.scan import Scan

SWEEP_SEEDS = 3


@dataclass(frozen=True, eq=False)
class Prepared:
    """Inputs of all models of a search: images (C, rows, cols), key points (n, 2), and which points are held out (n,)."""

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
    """Configuration with VAEs of the amplitude for all windows and invariances; `more` are further keys."""
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
    families: Sequence[str] = (),
) -> Config:
    """Configuration of the default search, with another seed or budget, or fewer windows, invariances or families."""
    search: dict[str, Any] = {} if seeds is None else {"seeds": seeds}
    search |= {"windows_px": list(windows_px)} if windows_px else {}
    search |= {"invariances": list(invariances)} if invariances else {}
    search |= {"families": list(families)} if families else {}
    return Config.model_validate({"seed": seed, "search": search, "train": {} if steps is None else {"steps": steps}})


def prepare(scan: Scan, config: Config) -> Prepared:
    """Amplitude, key points and held-out split of a search with `config`."""
    prepared = prepare_scan(scan, config)
    (keypoints,) = prepared.keypoints.values()
    rows = rows_of(keypoints.points_rc, config)
    held_out = np.zeros(len(keypoints.points_rc), dtype=bool)
    held_out[rows.held_out] = True
    return Prepared(prepared.stacks[prepared.vae_modes[0]], keypoints.points_rc, held_out)


def train_one(prepared: Prepared, config: Config, window_px: int, invariance: str, seeds: Sequence[int]) -> dict[str, Any]:
    """CPU seconds and held-out ELBO per pixel of training one configuration, all seeds together, on one thread.

    The training has the steps of all rungs, like a model that is not dropped. Call it in a worker process: it loads PyTorch.
    """
    import agent.representation.vae.training  # noqa: F401 - loaded before the time is taken, as in a worker

    spec = ModelSpec(window_px, invariance)
    fitted, held_out = prepared.points_rc[~prepared.held_out], prepared.points_rc[prepared.held_out]
    budgets = [max(1, round(share * config.train.steps)) for share in config.search.rungs] + [config.train.steps]
    before, start = time.process_time(), ()
    for steps in budgets:
        settings = config.train.model_copy(update={"steps": steps})
        specs = (spec,) * len(seeds)
        task = RepresentTask(prepared.points_rc, fitted, held_out, specs, tuple(seeds), settings, start)
        fits = represent(prepared.images, task)
        start = tuple(fit.state for fit in fits)
    cpu_s = time.process_time() - before
    return {"cpu_s": cpu_s, "steps": sum(budgets), "elbo_per_px": [fit.representation.elbo_per_px for fit in fits]}


def decide(scan: Scan, config: Config, previous: Decision | None = None) -> tuple[Decision, Meter]:
    """The decision on `scan`, and its cost including the start of the workers."""
    with Meter() as meter, workers_for(config.search.workers, config.directory) as workers:
        decision = Agent(config, workers).decide(DecisionInputs(scan, previous=previous), SearchControl(progress=meter.progress))
    return decision, meter


def warm(first: Scan, second: Scan, config: Config) -> dict[str, Any]:
    """Duration and quality of a warm start on `second` from the decision on `first`, compared with a cold start.

    Returns
    -------
    dict
        `wall_s` and `cpu_s` of the warm search, in running workers as in the service; `cold_wall_s` and `cold_cpu_s` of a cold
        search; `went_on`, whether it stayed a warm start; `elbo_below_cold_per_px`, the largest deficit in held-out ELBO of the
        best seed of a warm configuration against the cold search; `configurations`, the number of warm configurations.
    """
    with workers_for(config.search.workers, config.directory) as workers:
        agent = Agent(config, workers)
        before = agent.decide(DecisionInputs(first))
        with Meter() as warm_meter:
            after = agent.decide(DecisionInputs(second, previous=before))
        with Meter() as cold_meter:
            cold = agent.decide(DecisionInputs(second))
    warm_elbo, cold_elbo = (_best_elbos(decision.record) for decision in (after, cold))
    return {
        "wall_s": warm_meter.wall_s,
        "cpu_s": warm_meter.cpu_s,
        "cold_wall_s": cold_meter.wall_s,
        "cold_cpu_s": cold_meter.cpu_s,
        "went_on": after.record.warm_from is not None,
        "cold_because": after.record.cold_because,
        "elbo_below_cold_per_px": max((cold_elbo[name] - elbo for name, elbo in warm_elbo.items()), default=0.0),
        "configurations": len(warm_elbo),
        "chosen": after.record.chosen,
        "chosen_cold": cold.record.chosen,
    }


def _best_elbos(record: DecisionRecord) -> dict[str, float]:
    best: dict[str, float] = {}
    for c in record.candidates:
        if c.elbo_per_px is not None and c.guarded_out is None:
            name = c.candidate_id.rpartition("-s")[0]
            best[name] = max(c.elbo_per_px, best.get(name, -math.inf))
    return best


def first_recommendation(scan: Scan, config: Config) -> float:
    """Seconds from the scan to the first decision with recommended points, including the start of the workers.

    The search is stopped at that decision.
    """
    started = time.monotonic()
    elapsed_s: list[float] = []

    def on_rung(decision: Decision) -> None:
        if decision.record.requests:
            elapsed_s.append(time.monotonic() - started)

    with workers_for(config.search.workers, config.directory) as workers:
        Agent(config, workers).decide(DecisionInputs(scan), SearchControl(on_rung=on_rung, out_of_time=lambda: bool(elapsed_s)))
    return elapsed_s[0]


def without_quality_gate(config: Config) -> Config:
    """The same configuration without the quality gate, to test whether the decision rule itself rejects a scan."""
    return config.model_copy(update={"quality": config.quality.model_copy(update={"enabled": False})})


def summary(scan: Scan, config: Config) -> dict[str, Any]:
    """A decision as plain values: outcome, choice, configurations and candidates; an unusable scan is "not_resolvable"."""
    try:
        decision, meter = decide(scan, config)
    except UnusableScanError as error:
        return {"outcome": "not_resolvable", "reason": str(error), "configurations": [], "candidates": []}
    record = decision.record
    kept = {"candidate_id", "window_px", "invariance", "variant", "latent_dim", "seed", "elbo_per_px", "value", "guarded_out"}
    return {
        "outcome": record.outcome,
        "reason": record.explanation,
        "chosen": record.chosen,
        "points": record.keypoints_used,
        "configurations": [c.model_dump(mode="json") for c in record.configurations],
        "candidates": [
            c.model_dump(mode="json", include=kept) | {"metrics": {k: v for k, v in c.metrics.items() if k in EVIDENCE}}
            for c in record.candidates
        ],
        "cpu_s": meter.cpu_s,
        "wall_s": meter.wall_s,
    }


#: Metrics that the decision rule uses in addition to the reward.
EVIDENCE = ("MI_rot", "icl_gain")


def name_of(configuration: Mapping[str, Any]) -> str:
    """Name of a configuration, such as "rt-w9"."""
    parts = (configuration["invariance"], f"w{configuration['window_px']}", configuration.get("variant", ""))
    return "-".join(part for part in parts if part)


def is_vae(invariance: str) -> bool:
    """Whether a configuration's name is that of a VAE and not of a plain family."""
    return invariance in GEOMETRIC_LATENTS


def ranking(summaries: Sequence[Mapping[str, Any]], *, vae_only: bool = False) -> list[ConfigurationRecord]:
    """Configurations ranked by the decision rule from the candidates of all summaries together, best first."""
    return compare(_candidates(summaries, vae_only))


def tie_set(summaries: Sequence[Mapping[str, Any]], *, vae_only: bool) -> list[str]:
    """Names of the configurations that tie with the best under the decision rule."""
    return [name_of(c.model_dump()) for c in ranking(summaries, vae_only=vae_only) if c.in_tie_set]


def choice(one: Mapping[str, Any], *, vae_only: bool) -> str | None:
    """Name of the configuration that the decision rule chooses from the candidates of one summary."""
    candidates = _candidates([one], vae_only)
    chosen = choose(candidates, compare(candidates))
    return None if chosen is None else chosen.configuration.name


def single_seed_choice(one: Mapping[str, Any], *, vae_only: bool) -> str | None:
    """Name of the configuration with the largest reward among the models of the first seed: the rule of the paper."""
    first = min((c["seed"] for c in one["candidates"]), default=0)
    scored = [c for c in _scored(one, vae_only) if c["seed"] == first]
    return name_of(max(scored, key=lambda c: c["value"])) if scored else None


def _scored(one: Mapping[str, Any], vae_only: bool) -> list[Mapping[str, Any]]:
    scored = [c for c in one["candidates"] if c["guarded_out"] is None and c["value"] is not None]
    return [c for c in scored if is_vae(c["invariance"]) or not vae_only]


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
    """Stand-ins for the scored candidates, with the fields that the decision rule reads; types are those of the configuration."""
    out = []
    for one in summaries:
        types = {name_of(c): c["types"] for c in one["configurations"]}
        for c in _scored(one, vae_only):
            name = name_of(c)
            spec = _Spec(c["window_px"], c["invariance"], c["latent_dim"])
            configuration = _Configuration(spec, name, c.get("variant", ""))
            elbo = math.nan if c["elbo_per_px"] is None else c["elbo_per_px"]
            out.append(
                SimpleNamespace(
                    configuration=configuration,
                    spec=spec,
                    seed=c["seed"],
                    score=SimpleNamespace(
                        value=c["value"], metrics=c.get("metrics", {}), mixture=SimpleNamespace(n_components=types[name])
                    ),
                    representation=SimpleNamespace(elbo_per_px=elbo, trained=configuration.trained),
                )
            )
    return out
