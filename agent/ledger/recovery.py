"""What an agent that takes up a run finds there, in figures and in a sentence."""

from typing import Any

from agent.ledger.ledger import Ledger


def recovered(ledger: Ledger) -> dict[str, Any]:
    """What a run held when it was taken up, as plain JSON.

    `undecided`, `unacknowledged` and `waiting` are of the newest scan of each instrument, by instrument: the scan that is decided
    on next, the decision that is sent again, and the decision that waits for a person. `results_open` counts points that are
    asked for and have no result. `states` are those of instruments that are not running.
    """
    names = sorted(ledger.told)
    undecided = {name: entry.scan_id for name in names if (entry := ledger.undecided(name))}
    open_ = {name: entry for name in names if (entry := ledger.unacknowledged(name))}
    waiting = {name: entry for name in names if (entry := ledger.waiting(name))}
    newest = [entry for name in names if (entry := ledger.latest(name)) and entry.acknowledged]
    return {
        "instruments": len(names),
        "scans": len(ledger.scans),
        "decisions": sum(entry.decision is not None for entry in ledger.scans.values()),
        "results": sum(request.status is not None for request in ledger.requests.values()),
        "undecided": undecided,
        "unacknowledged": {n: e.decision.decision_id for n, e in open_.items() if e.decision and n not in waiting},
        "waiting": {n: e.decision.decision_id for n, e in waiting.items() if e.decision},
        "results_open": sum(request.status is None for entry in newest for request in ledger.asked(entry)),
        "states": {n: ledger.standing.state(n) for n in names if ledger.standing.state(n) != "running"},
    }


def sentence(facts: dict[str, Any]) -> str:
    """The same in words."""
    parts = [f"{facts['scans']} scans of {facts['instruments']} instruments, {facts['decisions']} decisions"]
    parts += [f"{facts['results']} results, {facts['results_open']} still to come"]
    parts += [f"scan {scan} of {name} is decided on next" for name, scan in facts["undecided"].items()]
    parts += [f"decision {decision} is sent to {name} again" for name, decision in facts["unacknowledged"].items()]
    parts += [f"decision {decision} of {name} waits for approval" for name, decision in facts["waiting"].items()]
    parts += [f"{name} is {state}" for name, state in facts["states"].items()]
    return "; ".join(parts)
