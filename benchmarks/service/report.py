"""Figures and tables of the service benchmark."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.harness.outcome import Outcome
from benchmarks.service.acks import summary
from benchmarks.service.long_history import SCANS_A_DAY

_UNIT_OF_SLOPE = {"agent_mb": "MB", "workers_mb": "MB", "adapter_mb": "MB"}


def report(found: Mapping[str, Mapping[str, Any]], reduced: str = "") -> Outcome:
    """Figures and tables of the parts that were run.

    Parameters
    ----------
    found
        Part -> its results.
    reduced
        Description of what a quick run omits; empty for a full run.
    """
    figures: dict[str, float | None] = dict.fromkeys(
        ("kills", "lost", "measured_twice", "ack_p99_ms", "faults_survived_of", "faults_total", "memory_slope_mb_per_day")
    )
    tables: dict[str, Sequence[Mapping[str, Any]]] = {}
    notes = [f"Quick: {reduced}."] if reduced else []
    for part, write_up in _PARTS.items():
        if part in found:
            more, rows, sentences = write_up(found[part])
            figures |= more
            tables |= rows
            notes += sentences
    missing = {key: "its part was not run (--only)" for key, value in figures.items() if value is None}
    return Outcome("service", "The service", figures, dict(found), tables, notes, missing)


Part = tuple[dict[str, float | None], dict[str, Sequence[Mapping[str, Any]]], list[str]]


def _kills(found: Mapping[str, Any]) -> Part:
    columns = ("seed", "alive", "lost", "measured_twice", "stalled_s", "wall_s")
    rows = [{"kills": sum(one["kills"].values()), **{c: one[c] for c in columns}, **_counts(one)} for one in found["loops"]]
    figures = {name: found[name] for name in ("kills", "lost", "measured_twice")}
    targets = ", ".join(f"{count} of {target}" for target, count in sorted(found["by_target"].items()))
    bound = 3 / found["kills"] if found["kills"] else 1.0
    alive = f"{found['loops_alive']} of {len(found['loops'])} loops closed again afterwards"
    ended = f"{found['ended_by_themselves']} processes ended by themselves"
    notes = [
        f"Kills: {targets}; {alive}, {ended}.",
        f"If nothing is lost, the probability of a loss per kill is below {bound:.3f} (95 %).",
    ]
    notes += [sentence for one in found["loops"] for sentence in (*one["sentences"], *one["verify"], *one["faults"])]
    return figures, {"Kills, by loop": rows}, notes


def _counts(one: Mapping[str, Any]) -> dict[str, Any]:
    counts = one["counts"]
    return {name: counts.get(name, 0) for name in ("events", "decisions", "scans_acknowledged", "results_acknowledged", "loops")}


def _acks(found: Mapping[str, Any]) -> Part:
    rows = []
    for name, label in (("training", "training on both cores"), ("idle", "no training")):
        one = found[name]
        more = {"scans a second": one["scans_per_s"], "decisions meanwhile": one["decisions"]}
        rows.append({"while": label, **summary(one["seconds"]), **more})
    back = found["recovery"]["seconds"]
    notes = [
        (
            f"A killed agent was back, a welcome received, after {np.median(back):.1f} s (median of {len(back)}, at most "
            f"{max(back):.1f} s), with {found['recovery']['scans']} scans in its history."
        )
    ]
    return {"ack_p99_ms": rows[0]["p99_ms"]}, {"Acknowledgement of a scan of 256 x 256 points, six channels": rows}, notes


def _faults(found: Mapping[str, Any]) -> Part:
    rows = [
        {
            "fault": one["fault"],
            "outcome": one["outcome"],
            "named in the history": "; ".join(one["named"][:1]),
            "reported by the client": "; ".join(one["told_by_client"][:1]),
            "harm": "; ".join(one["harm"][:1]),
        }
        for one in found["faults"]
    ]
    figures = {"faults_survived_of": float(found["named"] + found["survived"]), "faults_total": float(len(rows))}
    return figures, {"Faults": rows}, [f"{found['named']} faults are named in the history, {found['survived']} have no effect."]


def _soak(found: Mapping[str, Any]) -> Part:
    rows = [
        {"quantity": name, "per simulated day": s["per_day"], "95 % from": s["low"], "to": s["high"], "at the end": s["last"]}
        for name, s in found["slopes"].items()
    ]
    agent = found["slopes"].get("agent_mb", {}).get("per_day")
    days = ", ".join(f"{name} {value:.2f}" for name, value in found["simulated_days"].items())
    scans = f"{len(found['undecided'])} scans without an outcome"
    notes = [
        (
            f"Soak: simulated days: {days}; {found['wall_s'] / 60:.1f} min; {sum(found['faults'].values())} faults of "
            f"{len(found['faults'])} kinds; {found['lost']} lost, {found['measured_twice']} measured twice, {scans}, "
            f"{len(found['verify'])} faults of the history; the ledger takes "
            f"{found['tables_mb']['kb_a_scan']:.1f} KB per scan."
        ),
        *found["sentences"],
        *([found["stalled"]] if found["stalled"] else []),
    ]
    accounts = [{"what": name, "count": count} for name, count in found["accounts"].items()]
    return {"memory_slope_mb_per_day": agent}, {"Soak": rows, "Soak: outcomes": accounts}, notes


def _property(found: Mapping[str, Any]) -> Part:
    notes = [
        (
            f"Random loops: {found['loops']}, with {found['decided']} points decided; {found['received']} reached the "
            f"instrument, with {found['outside']} violations."
        ),
        *found["sentences"][:5],
    ]
    return {}, {}, notes


def _history(found: Mapping[str, Any]) -> Part:
    rows = [
        {"candidates": one["candidates"], **{name: row[name] for name in _HISTORY_COLUMNS}}
        for one in found.values()
        for row in one["rows"]
    ]
    last = found["small"]["rows"][-1]
    notes = [
        f"Histories: {last['scans']} scans with {last['events']} events at most; with {one['candidates']} candidates in a "
        f"decision, a started agent grows by {one['agent_mb_per_day']:.1f} MB for {SCANS_A_DAY} scans with 20 results each."
        for one in found.values()
    ]
    return {}, {"Long histories": rows}, notes


_HISTORY_COLUMNS = (
    *("events", "mb", "start_s", "start_cpu_s", "list_s", "list_cpu_s", "verify_s", "verify_cpu_s", "page_s", "page_cpu_s"),
    *("agent_mb", "page_mb", "deciding_ms", "message_ms"),
)
_PARTS = {"kills": _kills, "acks": _acks, "faults": _faults, "soak": _soak, "property": _property, "history": _history}
