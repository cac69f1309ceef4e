"""Every fault of the simulator in a running loop: does the history name it, or does it have no effect?

For each fault, an agent and a simulated MFP-3D run as processes, the fault is injected, and the history is compared with the
sealed log of the simulator. A fault counts as *named* if the history records its consequence: a problem in the quality record of
a decision, a refused message, a failed or skipped result with its reason, a new connection. It counts as *survived* if there is
no such record, but both processes had a clean shutdown, every scan and result arrived once, and every scan was decided on.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.service.books import Diary, audit, lines, rows, verified
from benchmarks.service.processes import TINY_SEARCH, Site, emptied
from simulators.faults.catalogue import FAULTS

INSTRUMENT = "mfp3d-1"
_CYCLES = 4
_TIMEOUT_S = 420.0
#: When a fault is injected, if not in the middle of the third frame.
_PLACES = {
    "frozen_position": "@point:8",
    "silent_clamp": "@point:8",
    "lost_ack": "@2",
    "replayed_message": "@2",
    "disconnect_mid_scan": "@2",
}
#: What names a fault in the history: problems of a decision, or words in a reason.
_NAMES: Mapping[str, Sequence[str]] = {
    "nan_lines": ("not_recorded",),
    "skipped_lines": ("lines_skipped",),
    "shifted_lines": ("lines_shifted",),
    "wrong_units": ("wrong_unit",),
    "swapped_labels": ("mislabelled",),
    "transposed_axes": ("transposed",),
    "saturation": ("saturated",),
    "phase_wrap_offset": ("phase_turned",),
    "blunting": ("blunt_tip",),
    "lock_loss": ("lock_lost",),
    "crash": ("no_signal", "contact_lost"),
    "written_spot": ("written",),
    "written_box": ("written",),
    "sensitivity_step": ("a step of the gain",),
    "contamination_band": ("a step of the gain",),
    "truncated_file": ("no complete frame",),
    "stale_newest_file": ("no complete frame",),
    "duplicate_scan_id": ("sent before",),
    "lost_ack": ("again",),
    "replayed_message": ("again",),
    "frozen_position": ("did not change", "frozen"),
    "silent_clamp": ("clamped", "from the frame that was set"),
}


def one_fault(directory: Path, fault: str, seed: int, pixels: int = 256) -> dict[str, Any]:
    """Inject one fault and evaluate it.

    Returns
    -------
    dict
        `fault` and its `group`; `happened`, number of entries in the sealed log; `named`, sentences of the history that name it;
        `harm`, sentences about lost data or unclean ends; `outcome`, "named", "survived", "harmed" or "did not happen";
        `told_by_client`, lines of the client's log about it; `scans`, number of scans sent.
    """
    with emptied(directory), Site(directory, TINY_SEARCH) as site:
        at = f"{fault}{_PLACES.get(fault, '@3')}"
        options = ["--pixels", str(pixels), "--seed", str(seed), "--no-latency", "--cycles", str(_CYCLES), "--fault", at]
        adapter = site.adapter(INSTRUMENT, lambda: [*options, "--sealed-log", "sealed.jsonl"])
        site.start_agent()
        adapter.start()
        codes = {"adapter": adapter.wait(_TIMEOUT_S), "agent": site.agent.stop()}
    happened = [entry for entry in lines(directory / "sealed.jsonl") if entry["fault"] == fault]
    recorded = _recorded(site.run)
    diary = directory / f"{INSTRUMENT}.diary.jsonl"
    found = audit(site.run, {INSTRUMENT: diary})
    harm = [*found.lost, *found.twice, *verified(site.run), *undecided(site.run)]
    harm += [f"{name} ended with {code}" for name, code in codes.items() if code != 0]
    harm += ["a traceback in a log"] * any("Traceback" in d.log.read_text(errors="replace") for d in (site.agent, adapter))
    named = _named(fault, recorded)
    outcome = "did not happen" if not happened else "harmed" if harm else "named" if named else "survived"
    return {
        "fault": fault,
        "group": str(FAULTS[fault].group),
        "happened": len(happened),
        "named": named,
        "harm": harm[:5],
        "outcome": outcome,
        "told_by_client": _client_reports(adapter.log.read_text(errors="replace")),
        "scans": len(Diary.of(diary).scans),
    }


def _recorded(run: Path) -> list[str]:
    """All entries of the history about something that went wrong, one sentence each."""
    found = []
    for _, kind, _, body, _ in rows(run):
        if kind == "decision_made":
            decision = body["decision"]
            found += [f"quality {p['name']}: {p['sentence']}" for p in decision["quality"]["problems"]]
            found += [f"masked {name}: {count}" for name, count in decision["masked"].items() if count]
        elif kind == "result_received" and body["status"] != "ok":
            found.append(f"result {body['status']}: {body['reason']}")
        elif kind == "instrument_troubled":
            found.append(f"trouble {body['event']}: {body['sentence']}")
        elif kind == "message_repeated":
            found.append(f"a {body['type']} came again")
        elif kind == "message_refused":
            found.append(f"refused {body['code']}: {body['reason']}")
    connections = sum(1 for _, kind, _, _, _ in rows(run) if kind == "instrument_connected")
    return [*found, *[f"connected {n + 1} times" for n in range(1, connections)]]


def _named(fault: str, recorded: Sequence[str]) -> list[str]:
    words = _NAMES.get(fault, ())
    found = [sentence for sentence in recorded if any(re.search(rf"\b{re.escape(word)}\b", sentence) for word in words)]
    if fault == "disconnect_mid_scan":
        found = [sentence for sentence in recorded if sentence.startswith("connected")]
    return list(dict.fromkeys(found))[:3]


def undecided(run: Path, *, cut_off: bool = False) -> list[str]:
    """Scans without an outcome: neither a decision nor a record of why there is none.

    If the instruments were `cut_off`, the newest scan of each may still be waiting.
    """
    events = rows(run)
    ended = {(body["instrument_id"], body["scan_id"]) for _, kind, _, body, _ in events if kind == "decision_made"}
    ended |= {(body["instrument_id"], subject) for _, kind, subject, body, _ in events if kind == "search_cancelled"}
    received = [(body["instrument_id"], subject) for _, kind, subject, body, _ in events if kind == "scan_received"]
    newest = set(dict(received).items()) if cut_off else set()
    return [f"scan {scan} of {name} has no outcome" for name, scan in received if (name, scan) not in ended | newest]


def _client_reports(log: str) -> list[str]:
    """Lines of the client's log about unusual events."""
    words = ("no scan was recorded", "it is left out", "lost the connection", "no message from")
    return list(dict.fromkeys(line[24:200] for line in log.splitlines() if any(word in line for word in words)))[:3]


def summed(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Number of faults by outcome."""
    outcomes = [one["outcome"] for one in found]
    return {outcome: outcomes.count(outcome) for outcome in ("named", "survived", "harmed", "did not happen")}


if __name__ == "__main__":
    import sys

    for name in sys.argv[2:] or FAULTS:
        print(json.dumps(one_fault(Path(sys.argv[1]) / name, name, 3)), flush=True)
