"""How much better is a deepened decision, searched while the agent is idle?

`python -m benchmarks.recovery.deepening [--seeds 100-102] --out DIR` records two scans of each medium world, with drift, and
decides on the second one twice: with a warm start from the decision on the first scan, and from its deepened decision. `ARI` is
the agreement of the chosen clusters with the true types, `ARI of VAEs` the mean over all eligible VAEs, `ELBO` their mean
held-out ELBO in nats per pixel. On most worlds a plain family is chosen, on which training has no effect.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.config.model import Config
from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs
from agent.schema.decision import Decision
from agent.search.candidates import Candidate
from agent.search.prepared_scan import prepare_scan
from agent.search.search import search
from agent.search.task_cache import TaskCache
from agent.search.warm_start import deep_start, deepened, warm_start
from agent.workers.factory import workers_for
from benchmarks.harness.agreement import bootstrap_interval
from benchmarks.harness.commandline import Journal, Task, parser, run
from benchmarks.harness.outcome import Outcome, write
from benchmarks.harness.worlds import World
from benchmarks.recovery.one_world import evaluate_decision
from instrument_adapters.scan import Scan
from simulators.clock import SimulatedClock
from simulators.mfp3d import SimulatedMFP3D
from simulators.tiers import tier

QUICK_WINDOWS_PX = [11]
_MEASURES = ("ari", "value", "elbo_per_px", "vae_ari")


def main() -> None:
    """Run all worlds and write `deepening.json` and `deepening.md`."""
    options = parser(__doc__, "100-102")
    options.add_argument("--windows", type=int, nargs="+", help="windows in pixels, for a smaller search")
    arguments = options.parse_args()
    windows = QUICK_WINDOWS_PX if arguments.quick else arguments.windows
    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    config = Config.model_validate({"search": {"workers": 0, **({"windows_px": windows} if windows else {})}})
    journal = Journal(arguments.out / "deepening.jsonl", {"seeds": list(seeds), "windows": windows})
    tasks: dict[str, Task] = {f"medium, world {seed}": (world, (seed, config), {}) for seed in seeds}
    done = journal.all_once(tasks, 1)
    write(report([done[name] for name in tasks]), arguments.out, seeds)
    journal.finish()


def world(seed: int, config: Config) -> dict[str, Any]:
    """Figures of the decision on the second scan, `plain` and `deep`, and the CPU seconds of each search."""
    instrument = SimulatedMFP3D(tier("medium", seed), clock=SimulatedClock(None))
    first = instrument.scan()
    instrument.clock.advance(600.0)  # as long as about 60 loops take
    second = instrument.scan()
    assert instrument.last_recording is not None
    seen = World(second, prepare_scan(second, config), instrument.surface, instrument.last_recording)
    with tempfile.TemporaryDirectory() as folder, workers_for(config.search.workers) as workers:
        agent, spent, cache = Agent(config, workers), {}, TaskCache(Path(folder))
        decided, spent["first"] = _timed(agent, first)
        deep, spent["deeper"] = _timed(Agent(deepened(config), workers), first, start=deep_start(decided, config))
        after, spent["plain"] = _timed(agent, second, previous=decided, earlier=first, cache=cache)
        after_deep, spent["deep"] = _timed(agent, second, previous=deep, earlier=first, cache=cache)

        def again(previous: Decision) -> Sequence[Candidate]:
            start = warm_start(previous, config)
            return search(seen.prepared, config, workers, start=start, cache=cache).candidates

        found = {"plain": _figures(seen, after, again(decided)), "deep": _figures(seen, after_deep, again(deep))}
    return {"seed": seed, "cpu_s": spent, "first_chosen": decided.record.chosen, "deeper_chosen": deep.record.chosen} | found


def _timed(agent: Agent, scan: Scan, cache: TaskCache | None = None, **given: Any) -> tuple[Decision, float]:
    before = time.process_time()
    decision = agent.decide(DecisionInputs(scan, **given), cache=cache)
    return decision, time.process_time() - before


def _figures(seen: World, decision: Decision, candidates: Sequence[Candidate]) -> dict[str, Any]:
    """The choice, and the quality of the VAEs of the same search."""
    record = decision.record
    chosen = next((c for c in record.candidates if c.candidate_id == record.chosen), None)
    vaes = [c for c in candidates if c.configuration.trained and c.score and c.score.mixture]
    aris = [
        seen.agreement(c.representation.points_rc, c.score.mixture.labels(c.representation.z))["ari"]
        for c in vaes
        if c.score and c.score.mixture
    ]
    return {
        "chosen": record.chosen,
        "warm_from": record.warm_from,
        "cold_because": record.cold_because,
        "ari": evaluate_decision(seen, decision)["ari"],
        "value": chosen.value if chosen else None,
        "elbo_per_px": float(np.mean([c.representation.elbo_per_px for c in vaes])) if vaes else None,
        "vae_ari": float(np.mean(aris)) if aris else None,
        "vaes": sorted(f"{c.candidate_id} {c.representation.elbo_per_px:.5f}" for c in vaes),
    }


def report(worlds: Sequence[dict[str, Any]]) -> Outcome:
    """Figures and tables from the finished worlds."""
    figures: dict[str, float | None] = {}
    for name in _MEASURES:
        gains = [w["deep"][name] - w["plain"][name] for w in worlds if None not in (w["deep"][name], w["plain"][name])]
        figures[f"{name}_gain"] = float(np.mean(gains)) if gains else None
        if len(gains) > 1:
            figures[f"{name}_gain_low"], figures[f"{name}_gain_high"] = bootstrap_interval(gains)
    for name in ("first", "deeper", "plain", "deep"):
        figures[f"cpu_s_{name}"] = float(np.mean([w["cpu_s"][name] for w in worlds]))
    rows = [
        {
            "world": w["seed"],
            "chosen": f"{w['plain']['chosen']} / {w['deep']['chosen']}",
            "ARI": _pair(w, "ari"),
            "reward": _pair(w, "value"),
            "ELBO of VAEs": _pair(w, "elbo_per_px", 4),
            "ARI of VAEs": _pair(w, "vae_ari"),
            "CPU s, first and deeper search": f"{w['cpu_s']['first']:.0f} + {w['cpu_s']['deeper']:.0f}",
        }
        for w in worlds
    ]
    return Outcome(
        name="deepening",
        title="What does a deepened decision gain?",
        figures=figures,
        details={"worlds": list(worlds)},
        tables={"Second scan: warm start from the decision / from the deepened decision": rows},
        notes=["Gains are paired differences, deepened minus plain. Intervals are percentile bootstraps over worlds."],
        missing={name: "available on no world" for name, value in figures.items() if value is None},
    )


def _pair(one: dict[str, Any], name: str, digits: int = 3) -> str:
    values = (one[which][name] for which in ("plain", "deep"))
    return " / ".join("-" if value is None else f"{value:.{digits}f}" for value in values)


if __name__ == "__main__":
    run(main)
