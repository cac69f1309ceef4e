"""What `Control.status` says, read out by whoever shows it: the command line, the metrics, the page."""

from collections.abc import Mapping
from typing import Any

Status = Mapping[str, Any]


def instruments(status: Status) -> list[dict[str, Any]]:
    """Each instrument with `instrument_id`, `model`, `connected`, `state`, `reason`, `activity`, `last_heard_s` and `obeyed`.

    `obeyed` is None where it was told nothing, else whether it has acknowledged its newest command.
    """
    held = status.get("instruments", {})
    named = held.items() if isinstance(held, Mapping) else ((one.get("instrument_id", "?"), one) for one in held)
    return [_instrument(str(name), one) for name, one in named]


def waiting(status: Status) -> list[dict[str, Any]]:
    """Each decision that waits for a person, with its points."""
    return list(status.get("pending") or ())


def _instrument(name: str, one: Mapping[str, Any]) -> dict[str, Any]:
    command = one.get("command") or {}
    return {
        "instrument_id": name,
        "model": one.get("model", ""),
        "connected": bool(one.get("connected", True)),
        "state": one.get("state", "running"),
        "reason": one.get("state_reason") or one.get("reason") or "",
        "activity": one.get("activity") or "",
        "last_heard_s": one.get("last_heard_s"),
        "obeyed": bool(command.get("acknowledged")) if command else None,
    }
