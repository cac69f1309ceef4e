"""Figures and tables of `benchmarks.recovery`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.harness.agreement import bootstrap_interval, normalised
from benchmarks.harness.outcome import Outcome, share_interval
from benchmarks.recovery.baselines import BASELINES, BEFORE, FIXED_POLAR
from benchmarks.recovery.paper_rule import BAYESIAN, BAYESIAN_MODELS, RULES
from simulators.tiers import HARD

PAPER = "icl"
_NEEDED = ("ari", "ari_norm", "ceiling")
World = Mapping[str, Any]
Worlds = Mapping[str, Sequence[World]]


def report(worlds: Worlds, nulls: Sequence[World], *, left_out: Sequence[str] = (), reduced: str = "") -> Outcome:
    """Figures, intervals and tables from the finished worlds.

    Parameters
    ----------
    worlds
        Tier -> results of its worlds with several types.
    nulls
        Results of the worlds without distinct types.
    left_out
        Tiers that were not run.
    reduced
        Description of what a quick run omits; empty for a full run.
    """
    figures: dict[str, float | None] = {}
    for tier, own in worlds.items():
        figures |= hard_figures(own) if tier == HARD else tier_figures(_key(tier), own)
    if nulls:
        figures["null_false_discovery"] = _claimed(nulls) / len(nulls)
        figures["null_bic_types"] = float(np.median([one["bic_types"]["median"] for one in nulls if one["bic_types"]]))
    return Outcome(
        name="recovery",
        title="Does the agent find existing types, and none where there are none?",
        figures=figures,
        details={
            "quick": bool(reduced),
            "reduced": reduced,
            "tiers": [*worlds, *(["null"] if nulls else [])],
            "worlds": dict(worlds),
            "nulls": list(nulls),
        },
        tables={tier: method_rows(own, normalise=tier != HARD) for tier, own in worlds.items()}
        | {f"{tier}, world by world": world_rows(own) for tier, own in worlds.items()}
        | ({"Worlds without distinct types": null_rows(nulls)} if nulls else {}),
        notes=list(_notes(worlds, nulls, left_out, reduced)),
        missing=_missing(left_out),
    )


def _notes(worlds: Worlds, nulls: Sequence[World], left_out: Sequence[str], reduced: str) -> list[str]:
    notes = []
    if nulls:
        low, high = share_interval(_claimed(nulls), len(nulls))
        notes.append(
            f"Types were claimed in {_claimed(nulls)} of {len(nulls)} worlds without distinct types "
            f"(95 % interval {low:.2f}-{high:.2f})."
        )
    if HARD in worlds:
        abstained, of = sum(map(_abstained, worlds[HARD])), len(worlds[HARD])
        low, high = share_interval(abstained, of)
        notes.append(
            f"Abstaining is correct in hard worlds: the agent did so in {abstained} of {of} (95 % interval {low:.2f}-{high:.2f})."
        )
    notes += [
        'ari and figures derived from it refer to the outcome: a world with "one type only" or "not resolvable" counts as 0.',
        "Coarse types join needles of both signs; the best candidate is then the best one for coarse types.",
        "ICL and BIC of the paper choose K from 2 to 10 among VAEs that passed the guards; otherwise a collapsed one would win.",
        f"-ELBO + H of the paper is evaluated for Bayesian mixtures of the {BAYESIAN_MODELS} VAEs with the smallest BIC.",
        "Intervals are percentile bootstraps over worlds, paired.",
    ]
    notes += [f"Part of the benchmark only: without {', '.join(left_out)}."] if left_out else []
    return notes + ([f"Quick: {reduced}."] if reduced else [])


def _missing(left_out: Sequence[str]) -> dict[str, str]:
    why = "the tier was not run"
    out = {f"{figure}_{_key(tier)}": why for tier in left_out if tier not in (HARD, "null") for figure in _NEEDED}
    out |= {"abstained_hard": why} if HARD in left_out else {}
    return out | ({"null_false_discovery": why} if "null" in left_out else {})


def tier_figures(key: str, worlds: Sequence[World]) -> dict[str, float | None]:
    """Figures of one tier, means over its worlds; `key` is the suffix of their names."""
    pick = [one["pick"]["ari"] for one in worlds]
    purity = [one["pick"]["purity"] for one in worlds if "purity" in one["pick"]]
    norm = {name: float(np.mean(_normalised(worlds, aris))) for name, aris in aris_of(worlds).items()}
    figures: dict[str, float | None] = {
        f"ari_{key}": float(np.mean(pick)),
        f"ari_norm_{key}": norm["the agent's pick"],
        f"ari_coarse_{key}": float(np.mean([one["pick"]["ari_coarse"] for one in worlds])),
        f"purity_{key}": float(np.mean(purity)) if purity else None,
        f"coverage_{key}": float(np.mean([one["pick"]["coverage"] for one in worlds])),
        f"types_off_{key}": float(np.mean([one["pick"]["types_off"] for one in worlds])),
        f"ceiling_{key}": float(np.mean([one["ceiling"]["ari"] for one in worlds])),
        f"ceiling_coarse_{key}": float(np.mean([one["ceiling"]["ari_coarse"] for one in worlds])),
        f"best_baseline_norm_{key}": max(norm[name] for name in BASELINES if name in norm),
        f"paper_rule_norm_{key}": norm[paper_name(PAPER)],
        f"paper_bayesian_norm_{key}": norm[paper_name(BAYESIAN)],
        f"abstained_{key}": float(np.mean([_abstained(one) for one in worlds])),
        f"pick_over_best_{key}": float(np.mean([_share(ari, one["best"]) for ari, one in zip(pick, worlds, strict=True)])),
    }
    rivals = {"paper_rule": [one["paper"][PAPER]["ari"] for one in worlds]}
    rivals["fixed_polar"] = [one["baselines"][FIXED_POLAR]["ari"] for one in worlds]
    for name, aris in rivals.items():
        gains = [ari - rival for ari, rival in zip(pick, aris, strict=True)]
        low, high = bootstrap_interval(gains)
        gain = f"gain_over_{name}_{key}"
        figures |= {gain: float(np.mean(gains)), f"{gain}_low": low, f"{gain}_high": high}
    return figures


def hard_figures(worlds: Sequence[World]) -> dict[str, float | None]:
    """Figures of the tier in which abstaining is correct: how often the agent abstains, and the best possible results."""
    return {
        "abstained_hard": float(np.mean([_abstained(one) for one in worlds])),
        "ceiling_hard": float(np.mean([one["ceiling"]["ari"] for one in worlds])),
        "best_hard": float(np.mean([one["best"] for one in worlds])),
        "information_hard": max((one["information"] or 0.0 for one in worlds), default=0.0),
    }


def aris_of(worlds: Sequence[World], which: str = "ari") -> dict[str, list[float]]:
    """Method -> its ARI on each world; `which` is "ari", or "ari_coarse" for the coarse types."""
    coarse = which == "ari_coarse"
    out = {
        "the agent's pick": [one["pick"][which] for one in worlds],
        "the same, abstentions apart": [(one["regardless"] or one["pick"])[which] for one in worlds],
        "best candidate": [one["best_coarse" if coarse else "best"] for one in worlds],
    }
    out |= {} if coarse else {"mean candidate": [one["mean"] for one in worlds]}
    out |= {paper_name(rule): [one["paper"][rule][which] for one in worlds] for rule in RULES}
    out |= {
        name: [one["baselines"][name][which] for one in worlds] for name in (*BASELINES, BEFORE) if name in worlds[0]["baselines"]
    }
    return out | {"supervised ceiling": [one["ceiling"][which] for one in worlds]}


def paper_name(rule: str) -> str:
    """Name of one of the paper's rules in the tables."""
    return f"paper's rule: one seed, smallest {rule.upper()}"


def method_rows(worlds: Sequence[World], *, normalise: bool = True) -> list[dict[str, Any]]:
    """One row for each method; with a ceiling near 0, ARIs are not normalised."""
    pure = {"the agent's pick": [one["pick"]["ari_pure"] for one in worlds]}
    pure |= {name: [one["baselines"][name]["ari_pure"] for one in worlds] for name in BASELINES if name in worlds[0]["baselines"]}
    pure["supervised ceiling"] = [one["ceiling"]["ari_pure"] for one in worlds]
    coarse = aris_of(worlds, "ari_coarse")
    rows = []
    for name, aris in aris_of(worlds).items():
        low, high = bootstrap_interval(aris)
        row = {"": name, "ARI": float(np.mean(aris)), "95 % interval": f"{low:.3f}-{high:.3f}"}
        row["ARI, single-type patches"] = float(np.mean(pure[name])) if name in pure else None
        row["ARI, coarse types"] = float(np.mean(coarse[name])) if name in coarse else None
        rows.append(row | ({"normalised": float(np.mean(_normalised(worlds, aris)))} if normalise else {}))
    return rows


def world_rows(worlds: Sequence[World]) -> list[dict[str, Any]]:
    """One row for each world."""
    return [
        {
            "seed": one["seed"],
            "outcome": one["outcome"],
            "chosen": one["chosen"],
            "MI_rot at most": one["information"],
            "ARI": one["pick"]["ari"],
            "NMI": one["pick"]["nmi"],
            "core purity": one["pick"].get("purity"),
            "coverage": one["pick"]["coverage"],
            "types, found / true": f"{one['pick']['clusters']:.0f} / {one['types']}",
            "best candidate": f"{one['best']:.3f} {one['best_candidate']}",
            "paper's rule": f"{one['paper'][PAPER]['ari']:.3f} {one['paper'][PAPER]['chosen']}",
            "its -ELBO + H": f"{one['paper'][BAYESIAN]['ari']:.3f} {one['paper'][BAYESIAN]['chosen']}",
            "ceiling": one["ceiling"]["ari"],
            "CPU s": one["cpu_s"],
        }
        for one in worlds
    ]


def null_rows(nulls: Sequence[World]) -> list[dict[str, Any]]:
    """One row for each kind of world without distinct types."""
    rows = []
    for kind in dict.fromkeys(one["kind"] for one in nulls):
        own = [one for one in nulls if one["kind"] == kind]
        k = [one["bic_types"] for one in own if one["bic_types"]]
        median = f"{np.median([one['median'] for one in k]):.1f}" if k else ""
        between = f"{min(one['least'] for one in k):.0f}-{max(one['most'] for one in k):.0f}" if k else ""
        answers = ", ".join(f"{name} x{n}" for name, n in Counter(one["outcome"] for one in own).most_common())
        informed = f"{max((one['information'] or 0.0) for one in own):.3f}"
        rows.append(
            {
                "world": kind,
                "answers": answers,
                "MI_rot at most": informed,
                "types by BIC, median": median,
                "of all candidates": between,
            }
        )
    return rows


def _key(tier: str) -> str:
    return tier.replace("-", "_")


def _abstained(world: World) -> bool:
    return bool(world["outcome"] != "types_found")


def _claimed(nulls: Sequence[World]) -> int:
    return sum(not _abstained(one) for one in nulls)


def _share(ari: float, best: float) -> float:
    return ari / best if best > 0 else 0.0


def _normalised(worlds: Sequence[World], aris: Sequence[float]) -> list[float]:
    return [normalised(ari, one["ceiling"]["ari"]) for ari, one in zip(aris, worlds, strict=True)]
