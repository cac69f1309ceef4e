"""Findings from the models of one scan: winners and their noise, numbers of components, collapse, trends."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.harness import engine

Row = Mapping[str, Any]
LEAST_COMPONENTS = 2  # the paper's grid starts here
COLLAPSED = "collapsed"

#: Criterion -> its raw value for a K, with the sign of the paper.
OF_MIXTURES: Mapping[str, Callable[[Mapping[str, float]], float]] = {
    "log_likelihood": lambda c: c["log_likelihood"],
    "bic": lambda c: c["bic"],
    "aic": lambda c: c["aic"],
    "icl": lambda c: c["bic"] + c["entropy"],
    "icl_2": lambda c: c["bic"] / 2 + c["entropy"],
    "icl_4": lambda c: c["bic"] / 4 + c["entropy"],
}
OF_BAYESIAN = ("neg_elbo", "entropy", "neg_elbo_plus_entropy")
_MAXIMISED = ("log_likelihood", "reconstruction", "variance_product")


def higher_is_better(criterion: str) -> int:
    """1 if a criterion is maximised, -1 if it is minimised."""
    return 1 if criterion in _MAXIMISED else -1


def best_of_curve(row: Row, criterion: str, least: int = LEAST_COMPONENTS) -> tuple[float, int] | None:
    """Raw value and K of the best number of components, from `least` on; None if the model was not scored."""
    values = [
        (OF_MIXTURES[criterion]({name: column[i] for name, column in row["curve"].items()}), K)
        for i, K in enumerate(row["K"])
        if least <= K
    ]
    return max(values, key=lambda pair: higher_is_better(criterion) * pair[0], default=None)


def scored(models: Sequence[Row], criterion: str, least: int = LEAST_COMPONENTS) -> list[dict[str, Any]]:
    """Raw value of a criterion, and the number of components, for each model that has one.

    Parameters
    ----------
    models
        Rows of `models.row` with the curves of one reading of the density filter, or rows with a value for the criterion.
    criterion
        One of `OF_MIXTURES`, or a key of the rows.
    least
        Smallest number of components.
    """
    out = []
    for row in models:
        if criterion in OF_MIXTURES:
            found = best_of_curve(row, criterion, least)
        else:
            found = None if row.get(criterion) is None else (row[criterion], int(row.get("K_effective", 1)))
        if found is not None and math.isfinite(found[0]):
            about = {k: row[k] for k in ("model", "configuration", "window_px", "invariance", "seed", "elbo_per_px", "left_out")}
            out.append(about | {"raw": found[0], "types": found[1]})
    return out


def summary(scores: Sequence[Row], criterion: str) -> dict[str, Any]:
    """The scored models in the form in which `benchmarks.harness.engine` applies the decision rule to them."""
    sign = higher_is_better(criterion)
    candidates, types = [], {}
    for row in scores:
        shared = {key: row[key] for key in ("window_px", "invariance")} | {"variant": ""}
        value = None if row["left_out"] else sign * row["raw"]
        own = {"seed": row["seed"], "latent_dim": 2, "elbo_per_px": row["elbo_per_px"], "guarded_out": row["left_out"]}
        candidates.append(shared | own | {"candidate_id": row["model"], "value": value})
        if not row["left_out"]:
            types.setdefault(row["configuration"], (shared, []))[1].append(row["types"])
    configurations = [shared | {"types": int(np.median(found))} for shared, found in types.values()]
    return {"configurations": configurations, "candidates": candidates}


def winners(scores: Sequence[Row], criterion: str) -> dict[str, Any]:
    """Configurations that a criterion prefers, by the mean over seeds and by each seed alone.

    Returns
    -------
    dict
        `best` by the mean, with `best_window_px` and `best_K`, the median over seeds; `single_seed`, the winner for each seed,
        which is the rule of the paper; `different`, number of different ones; `tie_set`, configurations within two standard
        errors.
    """
    one = summary(scores, criterion)
    ranking = engine.ranking([one])
    seeds = sorted({row["seed"] for row in scores})
    single = [_single(one, seed) for seed in seeds]
    if not ranking:
        return {"best": None, "best_window_px": None, "best_K": None, "single_seed": single, "different": 0, "tie_set": []}
    best = engine.name_of(ranking[0].model_dump())
    return {
        "best": best,
        "best_window_px": ranking[0].window_px,
        "best_K": ranking[0].types,
        "single_seed": single,
        "different": len(set(single)),
        "tie_set": engine.tie_set([one], vae_only=True),
    }


def _single(one: Mapping[str, Any], seed: int) -> str | None:
    alone = one | {"candidates": [c for c in one["candidates"] if c["seed"] == seed]}
    return engine.single_seed_choice(alone, vae_only=True)


def means(scores: Sequence[Row], key: str = "raw") -> dict[str, dict[int, list[float]]]:
    """Invariance -> window -> values of the seeds that were not left out."""
    out: dict[str, dict[int, list[float]]] = {}
    for row in scores:
        if not row["left_out"]:
            out.setdefault(row["invariance"], {}).setdefault(row["window_px"], []).append(row[key])
    return out


def criterion_findings(models: Sequence[Row], criterion: str) -> dict[str, Any]:
    """Winners of a criterion, spread over seeds and configurations, and preferred numbers of components."""
    scores = scored(models, criterion)
    trusted = [row for row in scores if not row["left_out"]]
    spread = seed_and_configuration_std(trusted)
    found = winners(scores, criterion) | spread
    found["K_median"] = {i: _median([r["types"] for r in trusted if r["invariance"] == i]) for i in _invariances(trusted)}
    found["K_quartiles"] = _quartiles([r["types"] for r in trusted])
    if criterion in OF_MIXTURES:
        free = [r for r in scored(models, criterion, least=1) if not r["left_out"]]
        found["one_component_share"] = _share([r["types"] == 1 for r in free])
    found["left_out_ranks"] = left_out_ranks(scores, criterion)
    return found


def seed_and_configuration_std(trusted: Sequence[Row]) -> dict[str, float | None]:
    """Pooled standard deviation over the seeds of a configuration, and standard deviation of the configuration means."""
    groups = [np.array(seeds) for windows in means(trusted).values() for seeds in windows.values()]
    freedom = sum(len(g) - 1 for g in groups)
    within = math.sqrt(sum(((g - g.mean()) ** 2).sum() for g in groups) / freedom) if freedom else None
    between = float(np.std([g.mean() for g in groups], ddof=1)) if len(groups) > 1 else None
    return {"std_of_seeds": within, "std_of_configurations": between}


def left_out_ranks(scores: Sequence[Row], criterion: str) -> dict[str, int]:
    """Collapsed model -> its rank among all models by this criterion, 1 being the best."""
    order = sorted(scores, key=lambda row: -higher_is_better(criterion) * row["raw"])
    return {row["model"]: place for place, row in enumerate(order, 1) if (row["left_out"] or "").startswith(COLLAPSED)}


def about_models(models: Sequence[Row]) -> dict[str, Any]:
    """Reconstruction, variances, collapse and density filter of the models of one scan."""
    trusted = [row for row in models if not row["left_out"]]
    reconstruction = {i: _trend([r for r in trusted if r["invariance"] == i], "reconstruction") for i in _invariances(trusted)}
    loss = {i: _mean_of(trusted, "reconstruction", i, sign=-1) for i in _invariances(trusted)}
    return {
        "models": len(models),
        "left_out": dict(Counter(row["left_out"].split(":")[0] for row in models if row["left_out"])),
        "collapsed": {
            row["model"]: {"total_variance": row["total_variance"], "variance_product": row["variance_product"]}
            for row in models
            if (row["left_out"] or "").startswith(COLLAPSED)
        },
        "total_variance_quartiles": _quartiles([row["total_variance"] for row in trusted]),
        "variance_product_quartiles": _quartiles([row["variance_product"] for row in trusted]),
        "loss_trend": {i: None if rho is None else -rho for i, rho in reconstruction.items()},
        "total_variance_trend": {
            i: _trend([r for r in trusted if r["invariance"] == i], "total_variance") for i in _invariances(trusted)
        },
        "loss_below_vanilla": {
            i: [sum(loss[i][w] < loss["v"][w] for w in both), len(both)]
            for i in loss
            if i != "v" and "v" in loss and (both := sorted(set(loss[i]) & set(loss["v"])))
        },
        "kept_quartiles": _quartiles([row["kept"] for row in models]),
        "kept_literally_quartiles": _quartiles([row["kept_literally"] for row in models]),
    }


def between_criteria(models: Sequence[Row]) -> dict[str, Any]:
    """Spearman correlations between criteria over the models not left out, and likelihood of r- against rt-VAEs."""
    trusted = [row for row in models if not row["left_out"] and row["K"]]
    raw = {c: {r["model"]: higher_is_better(c) * r["raw"] for r in scored(trusted, c)} for c in OF_MIXTURES}
    raw["size"] = {row["model"]: -math.log(row["variance_product"]) for row in trusted}
    pairs = (("log_likelihood", "bic"), ("log_likelihood", "size"), ("icl", "icl_4"), ("bic", "icl"))
    scores = means(scored(trusted, "log_likelihood"))
    r, rt = scores.get("r", {}), scores.get("rt", {})
    gaps = {w: abs(float(np.mean(r[w])) - float(np.mean(rt[w]))) for w in sorted(set(r) & set(rt))}
    return {
        "rank_correlations": {f"{a} {b}": _spearman(raw[a], raw[b]) for a, b in pairs},
        "r_rt_gap_up_to_13": _average([gap for w, gap in gaps.items() if w <= 13]),
        "r_rt_gap_above_13": _average([gap for w, gap in gaps.items() if w > 13]),
    }


def one_component_shares(models: Sequence[Row]) -> dict[str, dict[str, list[int]]]:
    """Windows -> invariance -> [number of models in which ICL prefers K = 1, number of models]."""
    scores = [row for row in scored(models, "icl", least=1) if not row["left_out"]]
    groups = {"3 px": lambda w: w == 3, "4-11 px": lambda w: 4 <= w <= 11, "more than 11 px": lambda w: w > 11}
    out: dict[str, dict[str, list[int]]] = {}
    for name, among in groups.items():
        own = [row for row in scores if among(row["window_px"])]
        out[name] = {
            i: [sum(row["types"] == 1 for row in own if row["invariance"] == i), sum(row["invariance"] == i for row in own)]
            for i in _invariances(own)
        }
    return out


def _invariances(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["invariance"] for row in rows))


def _mean_of(rows: Sequence[Row], key: str, invariance: str, sign: int = 1) -> dict[int, float]:
    own = means(rows, key).get(invariance, {})
    return {w: sign * float(np.mean(values)) for w, values in own.items()}


def _trend(rows: Sequence[Row], key: str) -> float | None:
    """Spearman correlation of a quantity with the window."""
    return _rho([row["window_px"] for row in rows], [row[key] for row in rows])


def _spearman(a: Mapping[str, float], b: Mapping[str, float]) -> float | None:
    both = [name for name in a if name in b]
    return _rho([a[name] for name in both], [b[name] for name in both])


def _rho(a: Sequence[float], b: Sequence[float]) -> float | None:
    if len(set(a)) < 2 or len(set(b)) < 2:
        return None  # a constant has no ranks
    return float(spearmanr(a, b).statistic)


def _quartiles(values: Sequence[float]) -> list[float] | None:
    return [float(q) for q in np.percentile(values, [25, 50, 75])] if len(values) else None


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None


def _average(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _share(hits: Sequence[bool]) -> float | None:
    return float(np.mean(hits)) if hits else None
