"""The paper's analysis repeated on real scans: its figures 2 to 7, and numbers to compare with its claims.

`python -m benchmarks.paper [--quick] [--seeds 0-2] --out DIR` trains vanilla, r- and rt-VAEs (the paper's t-VAE) with windows of
3 to 20 px on each recorded scan, one model for each seed, scores all of them by all rewards of the paper, and saves the figures
in `DIR/paper/` as PNG and PDF. Where the paper shows a single model, mean and spread over seeds are shown. If no recorded scans
are available, a simulated one is used. `docs/paper.md` compares the claims of the paper with the results.

Finished work is kept in `DIR/paper.jsonl` and `DIR/paper/` until the run is complete; the same command continues from there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from agent.config.model import Config
from benchmarks.harness.commandline import Journal, parser, run
from benchmarks.harness.outcome import Outcome, write
from benchmarks.harness.scans import RECORDED, material
from benchmarks.paper.bayesian import METHODS, VARIANTS, fit, mixture_of
from benchmarks.paper.claims import findings
from benchmarks.paper.curves import bayesian_figure, losses_figure, rewards_figure, winners_figure
from benchmarks.paper.findings import (
    OF_BAYESIAN,
    OF_MIXTURES,
    about_models,
    best_of_curve,
    between_criteria,
    criterion_findings,
    one_component_shares,
    scored,
    winners,
)
from benchmarks.paper.models import DEFAULT, DENSE, Arrays, Reading, dense_curves, paper_config, refit, scored_rows, sweep
from benchmarks.paper.spaces import Chosen, best_seed, chosen_figure, grid_figure
from benchmarks.paper.typicality import component_sizes, typicality
from instrument_adapters.formats.scan_file import read_scan
from instrument_adapters.scan import Scan

# The PbTiO3 film comes first, since it is the material of the paper.
SCANS = ("PTO_Funakubo0002.h5", "scan_0001.ibw", "PZT_final0001.h5", "PZT_final0002.h5", "PTO_Funakubo0001.h5")
_DPI = 300
_FORMATS = ("png", "pdf")


@dataclass(frozen=True)
class Plan:
    """Extent of a run.

    Parameters
    ----------
    scans
        Largest number of recorded scans.
    windows_px
        Windows of the VAEs on the first `thorough` scans.
    bayesian_windows_px
        Windows of the models with Bayesian mixtures: on the first scan all models of the first seed and the r-VAEs of all seeds,
        on the others the r-VAEs of the first seed.
    variant_windows_px
        Windows of the r-VAEs (first scan, first seed) on which other priors and more steps are tried.
    fewer_windows_px
        Windows of the VAEs on the other scans.
    thorough
        Number of scans with all windows.
    workers
        Number of processes.
    steps, bayesian_steps
        Number of steps of a VAE and of a Bayesian mixture; None for the defaults.
    """

    scans: int
    windows_px: tuple[int, ...]
    bayesian_windows_px: tuple[int, ...]
    variant_windows_px: tuple[int, ...]
    fewer_windows_px: tuple[int, ...] = ()
    thorough: int = 1
    workers: int = 2
    steps: int | None = None
    bayesian_steps: int | None = None


FULL = Plan(len(SCANS), tuple(range(3, 21)), (3, 5, 9, 13, 20), (5, 13), fewer_windows_px=(3, 5, 9, 13, 20), thorough=2)
QUICK = Plan(1, (3, 7, 13, 20), (7, 13), (13,))
REDUCED = "one scan, windows 3, 7, 13 and 20, Bayesian mixtures at 7 and 13, their variants at 13"


def main() -> None:
    """Train, score, draw, and write `paper.json` and `paper.md`."""
    arguments = parser(__doc__, "0-2").parse_args()
    plan = QUICK if arguments.quick else FULL
    scans = load_scans(arguments.scan, plan.scans)
    question = {"quick": arguments.quick, "seeds": list(arguments.seeds), "scans": list(scans)}
    journal = Journal(arguments.out / "paper.jsonl", question)
    write(measure(plan, scans, arguments.seeds, journal, arguments.out / "paper"), arguments.out, arguments.seeds)
    journal.finish()


def load_scans(path: Path | None, most: int) -> dict[str, Scan]:
    """Name -> scan: the one in `path`, or at most `most` available recorded ones, or a simulated one."""
    if path is not None:
        return {path.stem: read_scan(path)}
    found = [RECORDED / name for name in SCANS if (RECORDED / name).exists()]
    return {p.stem: read_scan(p) for p in found[:most]} or {"simulated": material(None).scan}


def measure(plan: Plan, scans: Mapping[str, Scan], seeds: Sequence[int], journal: Journal, out: Path) -> Outcome:
    """Run the analysis on each scan and return the report."""
    details: dict[str, Any] = {}
    for i, (name, scan) in enumerate(scans.items()):
        windows = plan.windows_px if i < plan.thorough else plan.fewer_windows_px
        config = paper_config(windows, seeds, steps=plan.steps, workers=plan.workers)
        path = out / f"{name}.npz"
        swept = journal.once(f"sweep of {name}", lambda s=scan, c=config, p=path: sweep(s, c, p, out / "work"))
        arrays = Arrays.load(path)
        dense = journal.once(f"densest half of {name}", lambda a=arrays: dense_curves(a, seeds[0]))
        models = swept["models"]
        bayesian, variants = _bayesian(plan, models, path, config, journal, name, first=i == 0)
        readings = {DEFAULT: models, DENSE: [row | dense.get(row["model"], {"K": [], "curve": {}}) for row in models]}
        details[name] = _of_scan(swept, readings, bayesian, variants)
        figures, chosen = _figures(scan, name, readings, bayesian, arrays, config)
        details[name]["chosen"] = chosen
        details[name]["figures"] = [_save(figure, out / f"{kind}_{name}") for kind, figure in figures.items()]
    across = {name: {c: one["criteria"][DENSE][c] for c in OF_MIXTURES} for name, one in details.items()}
    title = "Which window each reward chooses, densest half of the points"
    overall = _save(winners_figure(across, plan.windows_px, title), out / "winners")
    return report(details, [overall], seeds, plan)


def _bayesian(
    plan: Plan, models: Sequence[Mapping[str, Any]], arrays: Path, config: Config, journal: Journal, name: str, *, first: bool
) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """Rows of the models with Bayesian mixtures, and the same for each variant of the settings."""
    finite = [row for row in models if row["total_variance"] is not None]
    facts = [(row["seed"] == config.seed * 1000, row["invariance"] == "r") for row in finite]
    alone = [row for row, true in zip(finite, facts, strict=True) if all(true)]
    among = [row for row, true in zip(finite, facts, strict=True) if any(true)] if first else alone
    wanted = [row for row in among if row["window_px"] in plan.bayesian_windows_px]
    varied = [row for row in alone if first and row["window_px"] in plan.variant_windows_px]
    base = dict(METHODS) if plan.bayesian_steps is None else {"steps": plan.bayesian_steps}
    settings_of = {"": base} | {variant: base | dict(changes) for variant, changes in VARIANTS.items()}
    tasks = {
        f"Bayesian mixture of {name}, {row['model']} {variant}": (fit, (arrays, row["model"], config.seed, settings), {})
        for variant, settings in settings_of.items()
        for row in (varied if variant else wanted)
    }
    done = journal.all_once(tasks, plan.workers)
    about = {row["model"]: {k: v for k, v in row.items() if k not in ("K", "curve")} for row in models}

    def rows(variant: str, of: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        units = [f"Bayesian mixture of {name}, {row['model']} {variant}" for row in of]
        return [about[done[unit]["model"]] | done[unit] for unit in units]

    return rows("", wanted), {variant: rows(variant, varied) for variant in VARIANTS if varied}


def _of_scan(
    swept: dict[str, Any],
    readings: Mapping[Reading, Sequence[Mapping[str, Any]]],
    bayesian: Sequence[Mapping[str, Any]],
    variants: Mapping[str, Sequence[Mapping[str, Any]]],
) -> dict[str, Any]:
    """Numbers behind the figures of a scan, and the findings."""
    effective = {row["model"]: row["K_effective"] for row in bayesian}
    return {
        **{key: value for key, value in swept.items() if key != "models"},
        "about": about_models(readings[DEFAULT]),
        "criteria": {reading: {c: criterion_findings(rows, c) for c in OF_MIXTURES} for reading, rows in readings.items()},
        "between": {reading: between_criteria(rows) for reading, rows in readings.items()},
        "one_component": {reading: one_component_shares(rows) for reading, rows in readings.items()},
        "bayesian": {c: criterion_findings(bayesian, c) for c in OF_BAYESIAN},
        "variants": {name: [_variant(row, effective[row["model"]], bayesian) for row in rows] for name, rows in variants.items()},
        "models": [_rounded(row) for row in _scores(readings)],
        "bayesian_models": [
            _rounded({key: row[key] for key in ("model", *OF_BAYESIAN, "overlap", "K_effective")}) for row in bayesian
        ],
    }


def _scores(readings: Mapping[Reading, Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Rows of the models, with best value and K for each reading of the density filter and criterion instead of curves over K."""
    rows = {row["model"]: {k: v for k, v in row.items() if k not in ("K", "curve")} for row in readings[DEFAULT]}
    for reading, models in readings.items():
        for row in models:
            rows[row["model"]][reading] = {c: best_of_curve(row, c) for c in OF_MIXTURES}
    return list(rows.values())


def _variant(row: Mapping[str, Any], effective: float, bayesian: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Fit of a model with the paper's settings and with other settings, as pairs."""
    paper = next(one for one in bayesian if one["model"] == row["model"])
    return {
        "model": row["model"],
        "K_effective": [effective, row["K_effective"]],
        "neg_elbo": [paper["neg_elbo"], row["neg_elbo"]],
        "overlap": [paper["overlap"], row["overlap"]],
    }


def _figures(
    scan: Scan,
    name: str,
    readings: Mapping[Reading, Sequence[Mapping[str, Any]]],
    bayesian: Sequence[Mapping[str, Any]],
    arrays: Arrays,
    config: Config,
) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Kind -> figure of one scan, and the models shown in figures of chosen models."""
    rows, dense = readings[DEFAULT], readings[DENSE]
    figures = {
        "fig2": grid_figure(rows, arrays, f"{name}: latent distributions, window size in pixels"),
        "fig3": losses_figure(rows, name),
        "fig4": rewards_figure(dense, f"{name}, densest half of the points"),
        "fig4-default-filter": rewards_figure(rows, f"{name}, default density filter"),
    }
    picks = [pick for c in ("bic", "icl_4") if (pick := _mixture_choice(dense, c, arrays, config)) is not None]
    found = {"bic": picks[:1], "icl_4": picks[1:]} if len(picks) == 2 else {}
    if picks:
        figures["fig5"] = chosen_figure(scan, picks, f"{name}: core points by type")
    if bayesian:
        figures["fig6"] = bayesian_figure(bayesian, f"{name}: Bayesian mixtures, 500 steps")
        pick = _bayesian_choice(bayesian, arrays)
        if pick is not None:
            found["neg_elbo_plus_entropy"] = [pick]
            figures["fig7"] = chosen_figure(scan, [pick], f"{name}: core points by type")
    about = {
        criterion: {"model": one.row["model"], "K": one.mixture.n_components}
        | component_sizes(one.mixture)
        | typicality(scan, config, one)
        for criterion, ones in found.items()
        for one in ones
    }
    return figures, about


def _mixture_choice(rows: Sequence[Mapping[str, Any]], criterion: str, arrays: Arrays, config: Config) -> Chosen | None:
    scores = scored(rows, criterion)
    best = winners(scores, criterion)["best"]
    row = best_seed(scores, best) if best else None
    if row is None:
        return None
    model = row["model"]
    kept = scored_rows(model, arrays, config.seed, DENSE)
    mixture = refit(model, arrays, config.seed, DENSE, row["types"])
    names = {"bic": "BIC", "icl_4": "ICL$_{1/4}$"}
    return Chosen(names[criterion], row, arrays.points_rc[kept], arrays.z[model][kept].astype(float), mixture)


def _bayesian_choice(bayesian: Sequence[Mapping[str, Any]], arrays: Arrays) -> Chosen | None:
    criterion = "neg_elbo_plus_entropy"
    best = winners(scored(bayesian, criterion), criterion)["best"]
    row = best_seed(bayesian, best) if best else None
    if row is None:
        return None
    return Chosen("−ELBO + H", row, arrays.points_rc, arrays.z[row["model"]].astype(float), mixture_of(row))


def _save(figure: Figure, path: Path) -> str:
    """Save a figure in each format; returns the name of the first file."""
    for suffix in _FORMATS:
        figure.savefig(path.with_name(f"{path.name}.{suffix}"), dpi=_DPI)
        figure.set_layout_engine("none")  # the layout is done; repeating it would take longer than drawing
    return f"{path.name}.{_FORMATS[0]}"


def _rounded(value: Any) -> Any:
    """All numbers rounded to six digits, which is enough for page and figures and keeps the file small."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, Mapping):
        return {key: _rounded(part) for key, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value


def report(details: Mapping[str, Any], overall: Sequence[str], seeds: Sequence[int], plan: Plan) -> Outcome:
    """Figures, tables and findings."""
    drawn = [*(file for one in details.values() for file in one["figures"]), *overall]
    keys: dict[str, float | None] = {"figures_written": len(drawn), "models": sum(len(one["models"]) for one in details.values())}
    for c in OF_MIXTURES:
        different = [one["criteria"][DENSE][c]["different"] for one in details.values()]
        keys[f"different_single_seed_winners_{c}"] = sum(different) / len(different)
    found = findings(details)
    points = ", ".join(f"{name} ({one['points']} key points)" for name, one in details.items())
    windows = f"windows {_listed(plan.windows_px)} px"
    if len(details) > plan.thorough:
        windows += f" on the first {plan.thorough} scans, {_listed(plan.fewer_windows_px)} px on the others"
    notes = [
        f"Scans: {points}.",
        f"{len(seeds)} models of each configuration; {windows}.",
        "different_single_seed_winners: number of different winners of a criterion among the seeds, mean over scans.",
    ]
    return Outcome(
        name="paper",
        title="The paper's analysis on real scans",
        figures=keys,
        details={"scans": dict(details), "findings": found, "figures": drawn, "reduced": REDUCED if plan == QUICK else ""},
        tables={
            **{f"Winners, {reading} filter": _winner_rows(details, reading) for reading in (DENSE, DEFAULT)},
            "Bayesian mixtures": _bayesian_rows(details),
            "Findings": [{"finding": text} for text in found.values()],
        },
        notes=[*notes, f"Quick: {REDUCED}."] if plan == QUICK else notes,
    )


def _listed(windows_px: Sequence[int]) -> str:
    every = list(windows_px) == list(range(windows_px[0], windows_px[-1] + 1)) and len(windows_px) > 2
    return f"{windows_px[0]} to {windows_px[-1]}" if every else ", ".join(map(str, windows_px))


def _winner_rows(details: Mapping[str, Any], reading: str) -> list[dict[str, Any]]:
    of_scans = {name: one["criteria"][reading] for name, one in details.items()}
    return [{"scan": name, "criterion": c} | _winner_row(found[c]) for name, found in of_scans.items() for c in OF_MIXTURES]


def _bayesian_rows(details: Mapping[str, Any]) -> list[dict[str, Any]]:
    of_scans = {name: one["bayesian"] for name, one in details.items()}
    return [{"scan": name, "criterion": c} | _winner_row(found[c]) for name, found in of_scans.items() for c in OF_BAYESIAN]


def _winner_row(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "best mean": found["best"],
        "K": found["best_K"],
        "each seed's own": ", ".join(str(name) for name in found["single_seed"]),
        "ties": len(found["tie_set"]),
        "std of seeds": found["std_of_seeds"],
        "std of configurations": found["std_of_configurations"],
    }


if __name__ == "__main__":
    run(main)
