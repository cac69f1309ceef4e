"""Findings on each claim of the paper, one sentence with numbers each; `docs/paper.md` quotes these sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from agent.schema.model_kinds import label
from benchmarks.paper.findings import OF_BAYESIAN, OF_MIXTURES
from benchmarks.paper.models import DEFAULT, DENSE, INVARIANCES

Scan = Mapping[str, Any]
PAPERS_WINDOW = 13
NAMES = {
    "log_likelihood": "log-likelihood",
    "bic": "BIC",
    "aic": "AIC",
    "icl": "ICL",
    "icl_2": "ICL/2",
    "icl_4": "ICL/4",
    "neg_elbo": "-ELBO",
    "entropy": "H",
    "neg_elbo_plus_entropy": "-ELBO + H",
}
_READINGS = {DENSE: "densest half", DEFAULT: "default filter"}


def findings(details: Mapping[str, Scan]) -> dict[str, str]:
    """Claim -> finding over all scans; claims without numbers in this run are left out."""
    scans = list(details.values())
    found = {
        "clusters": _clusters(scans),
        "collapse": _collapse(scans),
        "collapsed_win": _collapsed_win(scans),
        "loss": _loss(scans),
        "loss_below_vanilla": _loss_below_vanilla(scans),
        "variance": _variance(scans),
        "filter": _filter(scans),
        "points": _points(scans),
        "components": _components(scans),
        "bic_follows_likelihood": _follows(scans),
        "windows": _windows(scans),
        "thirteen": _thirteen(scans),
        "icl_weights": _icl_weights(scans),
        "r_and_rt": _r_and_rt(scans),
        "noise": _noise(scans),
        "core": _core(scans),
        "rescan": _rescan(details),
        "bayesian_components": _bayesian_components(scans),
        "bayesian_windows": _bayesian_windows(scans),
        "bayesian_entropy": _bayesian_entropy(scans),
        "bayesian_sizes": _bayesian_sizes(scans),
        "bayesian_fit": _bayesian_fit(scans),
    }
    return {name: text for name, text in found.items() if text}


def _clusters(scans: Sequence[Scan]) -> str:
    parts = []
    for group in ("3 px", "4-11 px", "more than 11 px"):
        shares = []
        for kind in INVARIANCES:
            hits = [one["one_component"][DENSE][group].get(kind, [0, 0]) for one in scans]
            shares.append(_percent(sum(h for h, _ in hits), sum(n for _, n in hits)))
        parts.append(f"{' / '.join(shares)} at {group}")
    return "With K = 1 allowed, ICL sees a single Gaussian in " + ", ".join(parts) + " of the VAE / r-VAE / rt-VAE models."


def _collapse(scans: Sequence[Scan]) -> str:
    total = sum(one["about"]["models"] for one in scans)
    collapsed = [model for one in scans for model in one["about"]["collapsed"].values()]
    stuck = sum(n for one in scans for reason, n in one["about"]["left_out"].items() if reason != "collapsed")
    text = f"{len(collapsed)} of {total} models collapsed; {stuck} more were left out, nearly all as stuck seeds."
    if collapsed:
        text += f" Their total variance: {_range([m['total_variance'] for m in collapsed])}."
    return text


def _collapsed_win(scans: Sequence[Scan]) -> str:
    places = [
        (place, one["about"]["models"])
        for one in scans
        for c in OF_MIXTURES
        for place in one["criteria"][DEFAULT][c]["left_out_ranks"].values()
    ]
    if not places:
        return ""
    first = sum(place == 1 for place, _ in places)
    return (
        f"Had they not been left out, the collapsed models would have come first in {first} of {len(places)} rankings (each "
        f"model and mixture reward; of {_range([models for _, models in places], 0)} models)."
    )


def _loss(scans: Sequence[Scan]) -> str:
    trends = [" / ".join(f"{rho:.2f}" for rho in one["about"]["loss_trend"].values() if rho is not None) for one in scans]
    return f"Spearman correlation of loss per pixel and window, VAE / r-VAE / rt-VAE, scan by scan: {'; '.join(trends)}."


def _loss_below_vanilla(scans: Sequence[Scan]) -> str:
    counts = {i: [one["about"]["loss_below_vanilla"].get(i, [0, 0]) for one in scans] for i in ("r", "rt")}
    parts = [f"{label(i)} below VAE at {sum(a for a, _ in c)} of {sum(b for _, b in c)} windows" for i, c in counts.items()]
    return f"{', '.join(parts)} (all scans together)."


def _variance(scans: Sequence[Scan]) -> str:
    total = [one["about"]["total_variance_quartiles"] for one in scans]
    product = [one["about"]["variance_product_quartiles"] for one in scans]
    return (
        f"Total variance: median {_range([q[1] for q in total])} a scan, quartiles within "
        f"{_range([q[i] for q in total for i in (0, 2)])}; product: median {_range([q[1] for q in product])}."
    )


def _filter(scans: Sequence[Scan]) -> str:
    literal = [one["about"]["kept_literally_quartiles"][1] for one in scans]
    share = [one["about"]["kept_quartiles"][1] / one["points"] for one in scans]
    return (
        f"Taken literally, a median of {_range(literal, 0)} of {_range([one['points'] for one in scans], 0)} points survive; the "
        f"default threshold of 5 % keeps {_range([100 * s for s in share], 0)} %."
    )


def _points(scans: Sequence[Scan]) -> str:
    losses = []
    for one in scans:
        counts = [n for n in one["points_of_window"].values() if n]
        losses.append(100 * (1 - counts[-1] / counts[0]))
    return f"{_range(losses, 0)} % fewer key points at the largest window than at the smallest."


def _components(scans: Sequence[Scan]) -> str:
    parts = []
    for reading, text in _READINGS.items():
        medians = {c: _range([one["criteria"][reading][c]["K_quartiles"][1] for one in scans], 0) for c in OF_MIXTURES}
        shown = ", ".join(f"{NAMES[c]} {medians[c]}" for c in ("log_likelihood", "aic", "bic", "icl"))
        parts.append(f"{text}: {shown}")
    return f"Median K from 2 to 10, {'; '.join(parts)}."


def _follows(scans: Sequence[Scan]) -> str:
    def rho(pair: str, reading: str) -> str:
        return _range([one["between"][reading]["rank_correlations"][pair] for one in scans])

    return (
        f"Rank correlation of log-likelihood and BIC {rho('log_likelihood bic', DENSE)}; of log-likelihood and how small the "
        f"latent cloud is {rho('log_likelihood size', DEFAULT)} (default filter)."
    )


def _windows(scans: Sequence[Scan]) -> str:
    parts = []
    for c in ("log_likelihood", "bic", "icl", "icl_4"):
        best = [one["criteria"][DENSE][c]["best"] for one in scans]
        largest = sum(_window(b) == max(m["window_px"] for m in one["models"]) for b, one in zip(best, scans, strict=True) if b)
        parts.append(f"{NAMES[c]} {', '.join(str(b) for b in best)} (the largest window {largest} times)")
    return f"Best means over seeds, scan by scan, densest half: {'; '.join(parts)}."


def _thirteen(scans: Sequence[Scan]) -> str:
    means = [one["criteria"][r]["icl"]["best_window_px"] for one in scans for r in _READINGS]
    singles = [name for one in scans for r in _READINGS for name in one["criteria"][r]["icl"]["single_seed"] if name]
    tied = [any(_window(name) == PAPERS_WINDOW for name in one["criteria"][DENSE]["icl"]["tie_set"]) for one in scans]
    return (
        f"ICL chooses {PAPERS_WINDOW} px in {means.count(PAPERS_WINDOW)} of {len(means)} means over seeds and in "
        f"{sum(_window(name) == PAPERS_WINDOW for name in singles)} of {len(singles)} single-seed choices (both filters); "
        f"{PAPERS_WINDOW} px ties with the best on {sum(tied)} of {len(scans)} scans."
    )


def _icl_weights(scans: Sequence[Scan]) -> str:
    best = {c: [one["criteria"][DENSE][c]["best"] for one in scans] for c in ("icl", "icl_2", "icl_4")}
    same = [sum(a == b for a, b in zip(best[c], best["icl"], strict=True)) for c in ("icl_2", "icl_4")]
    rho = [one["between"][DENSE]["rank_correlations"]["icl icl_4"] for one in scans]
    return (
        f"{NAMES['icl_2']} and {NAMES['icl_4']} choose what ICL chooses on {same[0]} and {same[1]} of {len(scans)} scans; rank "
        f"correlation of ICL and {NAMES['icl_4']}: {_range(rho)}."
    )


def _r_and_rt(scans: Sequence[Scan]) -> str:
    near, far = ([one["between"][DEFAULT][key] for one in scans] for key in ("r_rt_gap_up_to_13", "r_rt_gap_above_13"))
    if None in near or None in far:
        return ""
    noise = [one["criteria"][DEFAULT]["log_likelihood"]["std_of_seeds"] for one in scans]
    return (
        f"Mean difference of their log-likelihoods: {_range(near)} nats a point up to 13 px, {_range(far)} above; standard "
        f"deviation of the seeds of one configuration: {_range(noise)}."
    )


def _noise(scans: Sequence[Scan]) -> str:
    seeds = len(scans[0]["criteria"][DENSE]["icl"]["single_seed"])
    parts = []
    for reading, text in _READINGS.items():
        different = {c: np.mean([one["criteria"][reading][c]["different"] for one in scans]) for c in OF_MIXTURES}
        parts.append(f"{text}: {', '.join(f'{NAMES[c]} {mean:.1f}' for c, mean in different.items())}")
    tied = [one["criteria"][DENSE]["icl"]["tie_set"] for one in scans]
    ties = [100 * len(t) / len({m["configuration"] for m in one["models"]}) for t, one in zip(tied, scans, strict=True)]
    spreads = [(o["std_of_seeds"], o["std_of_configurations"]) for one in scans for o in one["criteria"][DENSE].values()]
    ratio = [within / between for within, between in spreads if within and between]
    return (
        f"Different winners among {seeds} seeds, mean over scans, {'; '.join(parts)}. Densest half: {_range(ties, 0)} % of the "
        f"configurations tie under ICL; spread over seeds / spread over configurations is {_range(ratio)}."
    )


def _core(scans: Sequence[Scan]) -> str:
    parts = []
    for c in ("bic", "icl_4", "neg_elbo_plus_entropy"):
        own = [one["chosen"][c] for one in scans if c in one["chosen"]]
        if own:
            every, core, chance = (
                _range([o[key] for o in own]) for key in ("explained_by_types", "explained_by_types_of_core", "of_core_by_chance")
            )
            parts.append(f"{NAMES[c]} {every} of all points, {core} of core points ({chance} by chance)")
    return f"Share of the rotation-averaged patch content that the types explain: {'; '.join(parts)}." if parts else ""


def _rescan(details: Mapping[str, Scan]) -> str:
    pair = [one for name, one in details.items() if name.startswith("PZT_final")]
    if len(pair) != 2:
        return ""
    best = [f"{NAMES[c]} {' / '.join(str(one['criteria'][DENSE][c]['best']) for one in pair)}" for c in ("bic", "icl", "icl_4")]
    return f"Two scans of one place, 256 s apart, best by mean: {'; '.join(best)}."


def _bayesian_components(scans: Sequence[Scan]) -> str:
    quartiles = [q for one in scans if (q := one["bayesian"]["neg_elbo"]["K_quartiles"])]
    return f"Effective components: median {_range([q[1] for q in quartiles], 0)} a scan." if quartiles else ""


def _bayesian_windows(scans: Sequence[Scan]) -> str:
    first = scans[0]["bayesian"]
    if not first["neg_elbo"]["best"]:
        return ""
    parts = [
        f"{NAMES[c]} {first[c]['best']} (single seeds {', '.join(str(name) for name in first[c]['single_seed'])})"
        for c in OF_BAYESIAN
    ]
    rest = [str(one["bayesian"]["neg_elbo_plus_entropy"]["best"]) for one in scans[1:]]
    text = f"First scan (of the seeds after the first, r-VAEs only): {'; '.join(parts)}"
    return text + (f"; the others' -ELBO + H, r-VAEs only: {', '.join(rest)}." if rest else ".")


def _bayesian_entropy(scans: Sequence[Scan]) -> str:
    entropy = {m["model"]: m["entropy"] for m in scans[0]["bayesian_models"]}
    by_kind = {k: [h for model, h in entropy.items() if model.startswith(f"{k}-w")] for k in INVARIANCES}
    if not all(by_kind.values()):
        return ""
    return "Mean H on the first scan: " + ", ".join(f"{label(k)} {np.mean(h):.2f}" for k, h in by_kind.items()) + " nats a point."


def _bayesian_sizes(scans: Sequence[Scan]) -> str:
    both = [one["chosen"] for one in scans if {"bic", "neg_elbo_plus_entropy"} <= set(one["chosen"])]
    if not both:
        return ""
    shown = {
        name: [_range([chosen[c][key] for chosen in both]) for key in ("mean_radius", "variation_of_radius")]
        for name, c in (("Bayesian", "neg_elbo_plus_entropy"), ("BIC's", "bic"))
    }
    return "; ".join(f"{name} components: mean radius {r}, its variation {v}" for name, (r, v) in shown.items()) + "."


def _bayesian_fit(scans: Sequence[Scan]) -> str:
    parts = []
    for name, rows in scans[0]["variants"].items():
        (k0, k1), (e0, e1) = (np.mean([row[key] for row in rows], axis=0) for key in ("K_effective", "neg_elbo"))
        parts.append(f"{name}: {k0:.1f} -> {k1:.1f}, -ELBO {e0:.2f} -> {e1:.2f}")
    return f"From the paper's 500 steps and priors, effective components with {'; '.join(parts)}." if parts else ""


def _window(name: str) -> int:
    return int(name.partition("-w")[2])


def _percent(hits: int, of: int) -> str:
    return f"{100 * hits / of:.0f} %" if of else "-"


def _range(values: Sequence[float], digits: int = 2) -> str:
    """The smallest and the largest value, or a single one if they are equal."""
    texts = list(dict.fromkeys(f"{v:.{digits}f}" for v in sorted(v for v in values if v is not None)))
    return texts[0] if len(texts) == 1 else f"{texts[0]} to {texts[-1]}" if texts else "-"
