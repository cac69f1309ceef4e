"""What the commands to a running agent do and print; no library is loaded that the command line has not loaded anyway."""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from agent.cli.agent_client import RemoteAgent, which
from agent.errors import NotRunningError, RefusedError
from agent.messaging.status_view import instruments

Order = Literal["pause", "resume", "stop"]
_DONE: Mapping[Order, str] = {"pause": "paused", "resume": "resumed", "stop": "EMERGENCY STOP"}
_OBEY_S = 2.0
_LOOK_S = 0.05
_WATCH_S = 2.0


def show_status(run: Path | None, *, as_json: bool = False, watch: bool = False) -> None:
    """Print what the running agent says of itself; again and again where it is watched."""
    directory = which(run)
    while True:
        try:
            found = RemoteAgent(directory).ask("/api/status")
        except NotRunningError as error:
            _from_history(directory, error, as_json=as_json)
        text = json.dumps(found, indent=2) if as_json else "\n".join(_lines(directory, found))
        sys.stdout.write(f"\x1b[2J\x1b[H{text}\n" if watch and not as_json else f"{text}\n")
        sys.stdout.flush()
        if not watch:
            return
        try:
            time.sleep(_WATCH_S)
        except KeyboardInterrupt:  # how one leaves it
            return


def order(word: Order, run: Path | None, instrument: str | None, by: str, reason: str) -> None:
    """Tell instruments something, and wait a moment until those that are connected have obeyed.

    Ends with exit code 1 if one of them has not.
    """
    agent = RemoteAgent(which(run))
    answer = agent.tell(word, {"by": by, "reason": reason, "instrument_id": instrument})
    sys.stdout.write(f"{_DONE[word]}: the agent has recorded it ({instrument or 'all instruments'}, by {by})\n")
    sys.stdout.flush()
    late = _not_obeying(agent, answer.get("status", {}), instrument)
    if late:
        names = ", ".join(late)
        raise RefusedError(
            f"not confirmed within {_OBEY_S:g} s by {names}; the agent tells it again until it is, see `vaestar status`"
        )


def _not_obeying(agent: RemoteAgent, status: Mapping[str, Any], instrument: str | None) -> list[str]:
    """Print which instruments have obeyed, as they do; those that have not in the end."""
    until = time.monotonic() + _OBEY_S
    told: set[str] = set()
    while True:
        known = [one for one in instruments(status) if instrument in (None, one["instrument_id"])]
        for one in known:
            name = one["instrument_id"]
            if name not in told and (one["obeyed"] or not one["connected"]):
                told.add(name)
                how = f"confirmed, {one['state']}" if one["connected"] else "not connected; it is told when it comes back"
                sys.stdout.write(f"  {name}: {how}\n")
        late = [one["instrument_id"] for one in known if one["instrument_id"] not in told]
        if not late or time.monotonic() > until:
            return late
        time.sleep(_LOOK_S)
        status = agent.ask("/api/status")


def show_pending(run: Path | None, *, as_json: bool = False) -> None:
    """Print the decisions that wait for a person."""
    found = RemoteAgent(which(run)).ask("/api/pending")["pending"]
    if as_json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    for decision in found:
        sys.stdout.write(f"{decision.get('decision_id')}  {decision.get('instrument_id', '')} {decision.get('scan_id', '')}\n")
        sys.stdout.write(f"  {decision.get('explanation', '')}\n")
        for request in decision.get("requests", ()):
            place = f"{request['x_m'] * 1e6:.3f}, {request['y_m'] * 1e6:.3f} µm"
            sys.stdout.write(f"  {request['request_id']}  {place}  cluster {request['cluster']}\n")
    if not found:
        sys.stdout.write("nothing waits for approval\n")


def approve_decision(
    run: Path | None,
    decision_id: str,
    by: str,
    reason: str,
    *,
    drop: Sequence[str],
    move: Mapping[str, tuple[float, float]],
    instrument: str | None,
) -> None:
    """Have the points of a decision measured, some left out, some elsewhere (metres)."""
    body = {"decision_id": decision_id, "by": by, "reason": reason, "drop": list(drop), "move": dict(move)}
    RemoteAgent(which(run)).tell("approve", body | _of(instrument))
    sys.stdout.write(f"approved: {decision_id}, by {by}\n")


def reject_decision(run: Path | None, decision_id: str, by: str, reason: str, *, instrument: str | None) -> None:
    """Have none of the points of a decision measured."""
    RemoteAgent(which(run)).tell("reject", {"decision_id": decision_id, "by": by, "reason": reason} | _of(instrument))
    sys.stdout.write(f"rejected: {decision_id}, by {by}\n")


def _of(instrument: str | None) -> dict[str, str]:
    return {} if instrument is None else {"instrument_id": instrument}


def _lines(directory: Path, status: Mapping[str, Any]) -> list[str]:
    health = status.get("health", {})
    wrong = [f"{name}: {said}" for name, said in health.get("checks", {}).items() if said != "ok"]
    facts = {
        "run": f"{directory}, {status.get('events', 0)} events",
        "agent": f"running for {_span(float(status.get('uptime_s') or 0.0))}, {'NOT HEALTHY' if wrong else 'healthy'}",
        "mode": str(status.get("mode", "")),
    }
    lines = [f"{name:<8} {value}" for name, value in facts.items() if value]
    lines += [f"         {sentence}" for sentence in wrong]
    for one in instruments(status):
        lines += [f"{one['instrument_id']}", *(f"         {line}" for line in _of_instrument(one))]
    return lines if instruments(status) else [*lines, "no instrument has connected yet"]


def _of_instrument(one: Mapping[str, Any]) -> list[str]:
    heard = "" if one["last_heard_s"] is None else f", heard {_span(one['last_heard_s'])} ago"
    said = f" ({one['state_reason']})" if one["state_reason"] else ""
    told = "" if one["obeyed"] else ", NOT CONFIRMED by it yet"
    lines = [f"{'connected' if one['connected'] else 'away'}{heard}", f"{one['state']}{said}{told}"]
    return [*lines, *([one["doing"]] if one["doing"] else []), *([f"deciding on {one['deciding']}"] if one["deciding"] else [])]


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _from_history(directory: Path, error: NotRunningError, *, as_json: bool) -> NoReturn:
    """What is known of a run on which no agent runs; ends with exit code 3."""
    from agent.history.summary import summary

    try:
        known = summary(directory)
    except Exception:  # noqa: BLE001 - that no agent runs is what was asked; its run may be missing or damaged
        known = {}
    if as_json:
        sys.stdout.write(json.dumps({"running": False, "run": str(directory), **known}, indent=2) + "\n")
    else:
        for name, value in known.items():
            sys.stdout.write(f"{name.replace('_', ' '):<16} {value}\n")
    sys.stdout.flush()
    raise error
