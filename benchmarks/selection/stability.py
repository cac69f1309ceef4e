"""Does the choice on a real scan stay the same with other random seeds?

`python -m benchmarks.selection.stability [--quick] [--plain] [--seeds 200-209] --out DIR` repeats the default search with other
seeds on every available real scan (or else on a simulated one). With `--plain`, only plain families are searched, in a tenth of
the time. A rerun agrees if its outcome is the most frequent one and its choice lies in the tie set of all reruns combined, where
each configuration has the models of all reruns. For comparison, the rule of the paper is applied to each rerun: the largest
reward among the models of the first seed.

Each finished search is kept in `DIR/stability.jsonl` until the run is complete; the same command continues from there.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agent.config.model import Config
from benchmarks.harness import engine
from benchmarks.harness.commandline import Journal, parser, run
from benchmarks.harness.outcome import Outcome, share_interval, write
from benchmarks.harness.scans import RECORDED, material
from instrument_adapters.formats.scan_file import read_scan
from instrument_adapters.scan import Scan

QUICK_RERUNS = 3
PLAIN = tuple(family for family in Config().search.families if family not in ("vae", "consensus"))
REDUCED = "one scan, three reruns, windows 7 and 11, VAEs with rotation only; counts are scaled to 10"


def main() -> None:
    """Run all searches and write `stability.json` and `stability.md`."""
    options = parser(__doc__, "200-209")
    options.add_argument("--plain", action="store_true", help="search only the families that need no training")
    arguments = options.parse_args()
    seeds = arguments.seeds[:QUICK_RERUNS] if arguments.quick else arguments.seeds
    scans = recorded_scans(arguments.scan)
    scans = dict(list(scans.items())[:1]) if arguments.quick else scans
    candidates = {"windows_px": (7, 11), "invariances": ("r",)} if arguments.quick else {}
    candidates |= {"families": PLAIN} if arguments.plain else {}
    question = {"quick": arguments.quick, "plain": arguments.plain, "seeds": list(seeds), "scans": list(scans)}
    journal = Journal(arguments.out / "stability.jsonl", question)
    reruns = {
        name: [
            journal.once(
                f"{name}, seed {seed}",
                lambda scan=scan, seed=seed: engine.summary(scan, engine.default_config(seed=seed, **candidates)),
            )
            for seed in seeds
        ]
        for name, scan in scans.items()
    }
    write(report(reruns, quick=arguments.quick, plain=arguments.plain), arguments.out, seeds)
    journal.finish()


def recorded_scans(path: Path | None) -> Mapping[str, Scan]:
    """Name -> scan: the one in `path`, or all available real ones, or a simulated one."""
    files = sorted(RECORDED.glob("*.ibw")) + sorted(RECORDED.glob("*.h5")) if path is None else [path]
    if files:
        return {file.stem: read_scan(file) for file in files}
    data = material(None)
    return {data.source: data.scan}


def report(reruns: Mapping[str, Sequence[Mapping[str, Any]]], *, quick: bool, plain: bool = False) -> Outcome:
    """Figures and table of the reruns of all scans."""
    rows = [agreement_of(name, searches) for name, searches in reruns.items()]
    hits, of = sum(row["agree"] for row in rows), sum(row["reruns"] for row in rows)
    single = sum(row["single seed agrees"] for row in rows)
    figures = {
        "same_choice_of_10": 10 * hits / of,
        "single_seed_same_choice_of_10": 10 * single / of,
        "least_of_10": min(10 * row["agree"] / row["reruns"] for row in rows),
    }
    return Outcome(
        name="stability",
        title="Does the choice stay the same with other random seeds?",
        figures=figures,
        details={"quick": quick, "interval_95": share_interval(hits, of), "reruns": {k: list(v) for k, v in reruns.items()}},
        tables={"Scans": rows},
        notes=[*([f"Quick: {REDUCED}."] if quick else []), *(["Plain families alone, without VAEs."] if plain else [])],
    )


def agreement_of(name: str, searches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Table row of one scan."""
    outcome = Counter(one["outcome"] for one in searches).most_common(1)[0][0]
    tied = engine.tie_set(searches, vae_only=False)
    picks = [None if one.get("chosen") is None else str(one["chosen"]).rpartition("-s")[0] for one in searches]
    same = [one["outcome"] == outcome for one in searches]
    # Without types there is no choice to compare, only the outcome.
    agrees = [ok and (outcome != "types_found" or pick in tied) for ok, pick in zip(same, picks, strict=True)]
    single = [engine.single_seed_choice(one, vae_only=False) for one in searches]
    return {
        "scan": name,
        "reruns": len(searches),
        "outcome": ", ".join(f"{kind} x{n}" for kind, n in Counter(one["outcome"] for one in searches).most_common()),
        "agree": sum(agrees),
        "choices": ", ".join(f"{pick} x{n}" for pick, n in Counter(map(str, picks)).most_common()),
        "tie set of all": ", ".join(tied[:6]) + (" ..." if len(tied) > 6 else ""),
        "single seed agrees": sum(choice in tied for choice in single),
        "choices of single seeds": ", ".join(f"{pick} x{n}" for pick, n in Counter(map(str, single)).most_common()),
    }


if __name__ == "__main__":
    run(main)
