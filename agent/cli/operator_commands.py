"""The operator's commands to a running agent. Only light modules are imported, so that they start fast."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

from agent.cli.agent_client import RemoteAgent, resolve_run
from agent.errors import NotRunningError, RefusedError
from agent.messaging.status_view import instruments
from instrument_adapters.command_line.output import clear_screen, flush_output, write_json, write_line

Command = Literal["pause", "resume", "stop"]
_DONE: Mapping[Command, str] = {"pause": "paused", "resume": "resumed", "stop": "EMERGENCY STOP"}
_CONFIRM_TIMEOUT_S = 2.0
_POLL_S = 0.05
_WATCH_S = 2.0


def show_status(run: Path | None, *, as_json: bool = False, watch: bool = False) -> None:
    """Print the status of the running agent; repeatedly with `watch`."""
    directory = resolve_run(run)
    while True:
        try:
            status = RemoteAgent(directory).get("/api/status")
        except NotRunningError as error:
            _exit_with_summary(directory, error, as_json=as_json)
        if as_json:
            write_json(status)
        else:
            clear_screen(when=watch)
            for line in _status_lines(directory, status):
                write_line(line)
        flush_output()
        if not watch:
            return
        try:
            time.sleep(_WATCH_S)
        except KeyboardInterrupt:  # ends the watch
            return


def send_command(command: Command, run: Path | None, instrument: str | None, by: str, reason: str) -> None:
    """Send a command, wait two seconds for the instruments, and print what each of them has answered.

    Raises
    ------
    RefusedError
        If the agent or an instrument refuses, or an instrument that has not said goodbye does not answer in time.
    """
    agent = RemoteAgent(resolve_run(run))
    answer = agent.post(command, {"by": by, "reason": reason, "instrument_id": instrument})
    write_line(f"{_DONE[command]}: recorded by the agent ({instrument or 'all instruments'}, by {by})")
    flush_output()
    missing = _print_answers(agent, answer.get("status", {}), instrument)
    if missing:
        advice = "; STOP IT AT THE INSTRUMENT ITSELF if there is danger" if command == "stop" else ""
        raise RefusedError(
            f"{command} not confirmed within {_CONFIRM_TIMEOUT_S:g} s by {', '.join(missing)}; the agent repeats the command "
            f"until it is answered, see `vaestar status`{advice}"
        )


def _print_answers(agent: RemoteAgent, status: Mapping[str, Any], instrument: str | None) -> list[str]:
    """Print what each instrument answers, as soon as it does; return those that have not obeyed in time."""
    until = time.monotonic() + _CONFIRM_TIMEOUT_S
    printed: set[str] = set()
    missing: list[str] = []
    while True:
        known = [one for one in instruments(status) if instrument in (None, one["instrument_id"])]
        if not known:
            write_line("  no instrument has connected yet; the command holds for each that connects")
        is_over = time.monotonic() > until
        for one in known:
            name = one["instrument_id"]
            if name not in printed and (is_over or _is_settled(one)):
                printed.add(name)
                write_line(f"  {name}: {_answer(one)}")
                flush_output()
                missing += [] if _is_harmless(one) else [name]
        if len(printed) == len(known):
            return missing
        time.sleep(_POLL_S)
        status = agent.get("/api/status")


def _is_settled(one: Mapping[str, Any]) -> bool:
    """Whether no further answer of an instrument is to be expected: all its connections have answered, or it has left."""
    replies = one["replies"]
    return bool(one["refused"] or one["left"]) or (one["obeyed"] and replies.get("answered", 0) >= replies.get("connections", 0))


def _is_harmless(one: Mapping[str, Any]) -> bool:
    """Whether an instrument has obeyed the command on all its connections, or said goodbye before."""
    return not one["refused"] and _is_settled(one)


def _answer(one: Mapping[str, Any]) -> str:
    replies = one["replies"]
    within = "" if replies.get("within_ms") is None else f" within {replies['within_ms']:.0f} ms"
    silent = "" if one["last_heard_s"] is None else f"; its last message came {_duration(one['last_heard_s'])} ago"
    if one["refused"]:
        return f"REFUSED{within}: {one['refused']}"
    if one["left"]:
        return "not connected (it said goodbye); receives the command when it reconnects"
    if one["obeyed"] and not _is_settled(one):
        answered, connections = replies["answered"], replies["connections"]
        only_one = "make sure that only one client runs"
        return f"answered{within}, {one['state']}, but only {answered} of {connections} connections under this name; {only_one}"
    if one["obeyed"]:
        return f"answered{within}, {one['state']}"
    if not one["connected"] or replies.get("connections") == 0:
        return f"NOT CONNECTED{silent}; receives the command when it reconnects"
    return f"HAS NOT ANSWERED{silent}"


def show_pending(run: Path | None, *, as_json: bool = False) -> None:
    """Print the decisions that wait for approval."""
    decisions = RemoteAgent(resolve_run(run)).get("/api/pending")["pending"]
    if as_json:
        write_json(decisions)
        return
    for decision in decisions:
        write_line(f"{decision.get('decision_id')}  {decision.get('instrument_id', '')} {decision.get('scan_id', '')}")
        write_line(f"  {decision.get('explanation', '')}")
        for request in decision.get("requests", ()):
            position = f"{request['x_m'] * 1e6:.3f}, {request['y_m'] * 1e6:.3f} µm"
            write_line(f"  {request['request_id']}  {position}  cluster {request['cluster']}")
    if not decisions:
        write_line("nothing waits for approval")


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
    """Approve a decision; `drop` leaves requests out, `move` gives requests new positions in metres."""
    body = {"decision_id": decision_id, "by": by, "reason": reason, "drop": list(drop), "move": dict(move)}
    RemoteAgent(resolve_run(run)).post("approve", body | _instrument_field(instrument))
    write_line(f"approved: {decision_id}, by {by}")


def reject_decision(run: Path | None, decision_id: str, by: str, reason: str, *, instrument: str | None) -> None:
    """Reject a decision."""
    RemoteAgent(resolve_run(run)).post(
        "reject", {"decision_id": decision_id, "by": by, "reason": reason} | _instrument_field(instrument)
    )
    write_line(f"rejected: {decision_id}, by {by}")


def _instrument_field(instrument: str | None) -> dict[str, str]:
    return {} if instrument is None else {"instrument_id": instrument}


def _status_lines(directory: Path, status: Mapping[str, Any]) -> list[str]:
    health = status.get("health", {})
    problems = [f"{name}: {result}" for name, result in health.get("checks", {}).items() if result != "ok"]
    facts = {
        "run": f"{directory}, {status.get('events', 0)} events",
        "agent": f"running for {_duration(float(status.get('uptime_s') or 0.0))}, {'NOT HEALTHY' if problems else 'healthy'}",
        "mode": str(status.get("mode", "")),
    }
    lines = [f"{name:<8} {value}" for name, value in facts.items() if value]
    lines += [f"         {sentence}" for sentence in problems]
    for one in instruments(status):
        lines += [f"{one['instrument_id']}", *(f"         {line}" for line in _instrument_lines(one))]
    return lines if instruments(status) else [*lines, "no instrument has connected yet"]


def _instrument_lines(one: Mapping[str, Any]) -> list[str]:
    last_message = "" if one["last_heard_s"] is None else f", last message {_duration(one['last_heard_s'])} ago"
    reason = f" ({one['state_reason']})" if one["state_reason"] else ""
    confirmed = "" if one["obeyed"] else ", NOT YET CONFIRMED by the instrument"
    lines = [f"{'connected' if one['connected'] else 'not connected'}{last_message}", f"{one['state']}{reason}{confirmed}"]
    lines += [one["doing"]] if one["doing"] else []
    lines += [f"deciding on {one['deciding']}"] if one["deciding"] else []
    return [*lines, *_waiting_lines(one)]


def _waiting_lines(one: Mapping[str, Any]) -> list[str]:
    """What an operator has to decide, and with which commands; empty if nothing waits."""
    name, since_s = one["waiting_approval"], one["waiting_approval_s"]
    if not name:
        return []
    since = "" if since_s is None else f" for {_duration(since_s)}"
    return [
        f"WAITS FOR APPROVAL{since}: decision {name}; `vaestar pending` lists its points,",
        f"answer with `vaestar approve {name}` or `vaestar reject {name} --reason WHY`",
    ]


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _exit_with_summary(directory: Path, error: NotRunningError, *, as_json: bool) -> NoReturn:
    """Print a summary of the run from its history, then raise `error` (exit code 3)."""
    from agent.history.summary import summary

    try:
        known = summary(directory)
    except Exception:  # noqa: BLE001 - the summary is optional: the run may be missing or damaged
        known = {}
    if as_json:
        write_json({"running": False, "run": str(directory), **known})
    else:
        for name, value in known.items():
            write_line(f"{name.replace('_', ' '):<16} {value}")
    flush_output()
    raise error
