"""The instruments in the result of `Control.status`, prepared for display by the command line and the metrics."""

from collections.abc import Mapping
from typing import Any

Status = Mapping[str, Any]


def instruments(status: Status) -> list[dict[str, Any]]:
    """Each instrument with the keys of `Control.status`, and `instrument_id`, `doing`, `deciding`, `obeyed` and `replies`.

    `doing` and `deciding` are short texts, possibly empty; `waiting_approval` is the id of a decision, or empty; `obeyed` is
    False while the newest command is unacknowledged, or if it was refused. `refused` is the reason, `left` says whether the
    instrument has said goodbye, and `replies` how many connections under its name have answered and within how many milliseconds.
    """
    return [_instrument(name, one) for name, one in status.get("instruments", {}).items()]


def _instrument(name: str, one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "instrument_id": name,
        "connected": bool(one.get("connected")),
        "state": one.get("state", "running"),
        "state_reason": one.get("state_reason", ""),
        "last_heard_s": one.get("last_heard_s"),
        "doing": _doing(one.get("doing") or {}),
        "deciding": _deciding(one.get("newest_scan") or {}, one.get("deciding")),
        "waiting_approval": one.get("waiting_approval") or "",
        "waiting_approval_s": one.get("waiting_approval_s"),
        "obeyed": one.get("command_unacknowledged") is None and not one.get("command_refused"),
        "refused": one.get("command_refused") or "",
        "left": bool(one.get("left")),
        "replies": dict(one.get("command_replies") or {}),
    }


def _doing(doing: Mapping[str, Any]) -> str:
    left = f", {doing['points_left']} points left" if doing.get("points_left") else ""
    sentence = f" ({doing['sentence']})" if doing.get("sentence") else ""
    return f"{doing.get('activity', '')}{left}{sentence}"


def _deciding(newest: Mapping[str, Any], deciding: Mapping[str, Any] | None) -> str:
    if deciding is None:
        return ""
    return f"{newest.get('scan_id')}: {deciding.get('stage')} {deciding.get('done')}/{deciding.get('total')}"
