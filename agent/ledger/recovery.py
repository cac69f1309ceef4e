"""State of a run that an agent continues, as numbers and as a sentence."""

from typing import Any

from agent.ledger.ledger import Ledger


def recovery_facts(ledger: Ledger) -> dict[str, Any]:
    """State of the run at start-up, as plain JSON.

    `undecided`, `unacknowledged` and `waiting` map instruments to an id, for the newest scan of each: the scan to be decided
    next, the decision to be sent again, and the decision that waits for an operator. `results_open` counts approved points
    without a result. `impossible_results` lists the requests whose result holds a place or a number that cannot be (only if there
    are any: an earlier version accepted them). `states` lists the instruments that are not running.
    """
    names = sorted(ledger.instruments)
    undecided = {name: entry.scan_id for name in names if (entry := ledger.undecided(name))}
    open_ = {name: entry for name in names if (entry := ledger.unacknowledged(name))}
    waiting = {name: entry for name in names if (entry := ledger.waiting(name))}
    newest = [entry for name in names if (entry := ledger.latest(name)) and entry.acknowledged]
    return {
        "instruments": len(names),
        "scans": len(ledger.scans),
        "decisions": sum(entry.decided is not None for entry in ledger.scans.values()),
        "results": sum(counts.total() for counts in ledger.statuses.values()),
        "undecided": undecided,
        "unacknowledged": {n: e.decision.decision_id for n, e in open_.items() if e.decision and n not in waiting},
        "waiting": {n: e.decision.decision_id for n, e in waiting.items() if e.decision},
        "results_open": sum(request.status is None for entry in newest for request in ledger.approved_requests(entry)),
        **({"impossible_results": list(ledger.impossible)} if ledger.impossible else {}),
        "states": {n: ledger.command_state.state(n) for n in names if ledger.command_state.state(n) != "running"},
    }


def recovery_sentence(facts: dict[str, Any]) -> str:
    """The output of `recovery_facts` as a sentence for the log."""
    parts = [f"{facts['scans']} scans of {facts['instruments']} instruments, {facts['decisions']} decisions"]
    parts += [f"{facts['results']} results, {facts['results_open']} still open"]
    if impossible := facts.get("impossible_results"):
        parts += [
            f"{len(impossible)} results hold a place or a number that cannot be and are left out: {', '.join(impossible[:3])}"
        ]
    parts += [f"scan {scan} of {name} will be decided next" for name, scan in facts["undecided"].items()]
    parts += [f"decision {decision} will be sent to {name} again" for name, decision in facts["unacknowledged"].items()]
    parts += [f"decision {decision} of {name} waits for approval" for name, decision in facts["waiting"].items()]
    parts += [f"{name} is {state}" for name, state in facts["states"].items()]
    return "; ".join(parts)
