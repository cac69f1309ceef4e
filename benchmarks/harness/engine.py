"""The few calls into the agent that the benchmarks of its engine rest on, gathered in one place."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from agent.config.model import Config
from agent.decision.agent import Agent
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
    families: Sequence[str] = (),
) -> Config:
    """The default search, with another seed or budget, or on fewer windows, invariances or families."""
    search: dict[str, Any] = {} if seeds is None else {"seeds": seeds}
    search |= {"windows_px": list(windows_px)} if windows_px else {}
    search |= {"invariances": list(invariances)} if invariances else {}
    search |= {"families": list(families)} if families else {}
    return Config.model_validate({"seed": seed, "search": search, "train": {} if steps is None else {"steps": steps}})


def prepare(scan: Scan, config: Config) -> Prepared:
    """The amplitude, the key points and the held-out split that a search with `config` uses."""
    scene = prepare_scan(scan, config)
    (keypoints,) = scene.keypoints.values()
    rows = rows_of(keypoints.points_rc, config)
    held_out = np.zeros(len(keypoints.points_rc), dtype=bool)
    held_out[rows.held_out] = True
    return Prepared(scene.stacks[scene.vae_modes[0]], keypoints.points_rc, held_out)


def train_one(prepared: Prepared, config: Config, window_px: int, invariance: str, seeds: Sequence[int]) -> dict[str, Any]:
    """Training and encoding of one configuration, all seeds together, on one thread: CPU seconds and held-out ELBO a pixel.

    It is given the steps of all rungs, as a model that is not dropped is. To be called in a worker: it loads PyTorch.
    """
    import agent.representation.vae.training  # noqa: F401 - loaded before the clock runs, as a worker has it

    spec = ModelSpec(window_px, invariance)
    fitted, held_out = prepared.points_rc[~prepared.held_out], prepared.points_rc[prepared.held_out]
    budgets = [max(1, round(share * config.train.steps)) for share in config.search.rungs] + [config.train.steps]
    before, start = time.process_time(), ()
    for steps in budgets:
        settings = config.train.model_copy(update={"steps": steps})
        specs = (spec,) * len(seeds)
        task = RepresentTask(prepared.points_rc, fitted, held_out, specs, tuple(seeds), settings, start)
        made = represent(prepared.images, task)
        start = tuple(m.state for m in made)
    cpu_s = time.process_time() - before
    return {"cpu_s": cpu_s, "steps": sum(budgets), "elbo_per_px": [m.representation.elbo_per_px for m in made]}


def decide(scan: Scan, config: Config, previous: Decision | None = None) -> tuple[Decision, Meter]:
    """The decision on `scan`, and what it cost, the start of the workers included."""
    with Meter() as meter, workers_for(config.search.workers, config.directory) as workers:
        decision = Agent(config, workers).on_scan(scan, previous=previous, progress=meter.progress)
    return decision, meter


def warm(first: Scan, second: Scan, config: Config) -> dict[str, Any]:
    """Seconds of the decision on `second` that starts from the one on `first`, and how good its models are.

    Returns
    -------
    dict
        wall_s and cpu_s of the warm search, in workers that are up, as a service's are; cold_wall_s and cold_cpu_s of one on
        `second` that starts from nothing; went_on, whether it did not fall back to a cold start; elbo_below_cold_per_px, by how
        much the held-out ELBO of the warm configurations is worse than after the cold search, the largest of the differences
        of best seeds; configurations, how many these are.
    """
    with workers_for(config.search.workers, config.directory) as workers:
        agent = Agent(config, workers)
        before = agent.on_scan(first)
        with Meter() as warm_meter:
            after = agent.on_scan(second, previous=before)
        with Meter() as cold_meter:
            cold = agent.on_scan(second)
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
    """Seconds from the scan to the first decision that recommends something; the workers are started within them.

    The search is ended there.
    """
    started = time.monotonic()
    seen: list[float] = []

    def on_rung(decision: Decision) -> None:
        if decision.record.requests:
            seen.append(time.monotonic() - started)

    with workers_for(config.search.workers, config.directory) as workers:
        Agent(config, workers).on_scan(scan, on_rung=on_rung, out_of_time=lambda: bool(seen))
    return seen[0]


def uninspected(config: Config) -> Config:
    """The same, without the inspection of the scan: what is asked is whether the rule itself rejects it."""
    return config.model_copy(update={"quality": config.quality.model_copy(update={"enabled": False})})


def summary(scan: Scan, config: Config) -> dict[str, Any]:
    """A decision as plain values: outcome, choice, configurations and candidates; a scan of no use is "not_resolvable"."""
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


#: Metrics that the decision rule asks for beside the reward.
EVIDENCE = ("MI_rot", "icl_gain")


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
                    score=SimpleNamespace(
                        value=c["value"], metrics=c.get("metrics", {}), mixture=SimpleNamespace(n_components=types[name])
                    ),
                    representation=SimpleNamespace(elbo_per_px=elbo, trained=configuration.trained),
                )
            )
    return out
