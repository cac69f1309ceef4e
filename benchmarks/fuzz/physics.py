"""Messages that are valid in form, with extreme numbers, names and dates: nothing may end, and no wrong place may be sent.

Each input is a session of ten messages of one instrument: hello, scan, results, scan, results and others. Its numbers, dates and
texts are replaced by extreme ones of the same type, possible and impossible. The agent takes each message as the service does:
decode, dispatch, refuse. After each recorded scan it gathers the inputs of a decision, estimates the drift, selects points among
the pixels of the scan, approves, and sends. The search itself, which depends on images only, is replaced. Every point that would
be sent is checked against the frame and the limits of the instrument by code of its own.
"""

import copy
import json
import math
from datetime import UTC, datetime
from itertools import combinations, count
from typing import Any

import numpy as np

from agent.config.drift import DriftSettings
from agent.config.recommendation import RecommendSettings
from agent.history.event_log import History
from agent.history.readers import scan_in
from agent.ledger.entries import ScanEntry
from agent.messaging.dispatcher import Dispatcher
from agent.messaging.status import Replies, instruments
from agent.preprocessing.drift import predict_targets, to_scan_coordinates, update_track
from agent.preprocessing.registration import Registration, ScanPair
from agent.provenance.narrative import event_sentence
from agent.recommendation.place_selection import Pool, recommend
from agent.schema.decision import DriftRecord
from benchmarks.fuzz.targets import Input, Random, _InFolder
from instrument_adapters.errors import ProtocolError
from instrument_adapters.protocol import codec
from instrument_adapters.protocol import messages as wire
from instrument_adapters.scan import Scan

MESSAGES = 10  # of one session
_RENEW_EVERY = 200  # sessions on one history
_ROWS, _COLS = 6, 8
_NOW = "2026-01-02T03:04:05Z"
_SHARES = (0.0, 0.02, 0.1, 0.4)  # of the numbers of a session that are extreme
_REALS = (0.0, -0.0, 5e-324, 1e-320, 1e-300, 1e-30, 1e-15, 1e-12, 1e-9, 1e-7, 1e-6, 4.5e-5, 1e-3, 0.5, 1.0, 1.0000001, 1e3, 1e8)
_HUGE = (1e12, 1e29, 1e30, 1.1e30, 1e150, 1e154, 1.3e154, 1e300, 1.7e308)
_COUNTS = (0, 1, 2, 3, 60, 200, 65535, 65536, 10**9, 10**9 + 1, 2**31, 2**53 + 1, 2**63 - 1, 2**64, 10**30, 10**400)
_DATES = (
    *(
        "0001-01-01T00:00:00+23:59",
        "1899-12-31T23:59:59Z",
        "1900-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "1970-01-01T00:00:00Z",
    ),
    *("2026-01-02T02:04:05Z", "2026-01-02T03:04:04.999999Z", _NOW, "2026-01-02T04:04:05Z", "2026-01-02T03:04:05-23:59"),
    *("2027-01-02T03:04:05Z", "2038-01-19T03:14:08Z", "2200-01-01T00:00:00Z", "2200-01-01T00:00:00.000001Z"),
    *("9999-12-31T23:59:59Z", "9999-12-31T23:59:59-23:59"),
)
_TEXTS = (
    "",
    " ",
    "\x1b[2J",
    "\x9b31m",
    "\u202e",
    "é" * 40,
    "[/red]",
    "'; DROP TABLE event;--",
    "a" * 2000,
    "\u2028",
    "=1+1",
    "%s%n",
)
_NAMES = ("a", "A" * 60, "é" * 60, "[/red]", "=1+1", "../etc", "\x9b31m", "\u202eabc", "<script>", "{}")
_VALUES = (0.0, -0.0, 1.0, 1e-45, 3.4e38, -3.4e38, math.nan, math.inf, -math.inf)


class Physics(_InFolder):
    """Sessions of `MESSAGES` messages with extreme numbers, names and dates."""

    name, share, answers = "physics", 0.10, ()

    def __init__(self) -> None:
        super().__init__()
        self._runs, self._sessions, self._points = count(), 0, 0
        self._history: History | None = None
        self.renew()

    def make(self, rng: Random) -> Input:
        extreme, unique = rng.choice(_SHARES), f"{rng.getrandbits(56):x}"
        sender = rng.choice(("afm", "A" * 50, "a.-_")) + unique
        frames: list[bytes] = []
        for header, arrays in _session(sender, unique, rng):
            # Most sessions get past their hello, which has a dozen numbers.
            body = _with_extremes(header, extreme if header["type"] != "hello" or rng.random() < 0.2 else extreme / 20, rng)
            made = [
                np.where(np.asarray([rng.random() < extreme for _ in range(a.size)]).reshape(a.shape), _value(rng), a)
                for a in arrays
            ]
            frames += [bytes([len(arrays)]), json.dumps(body).encode()]
            frames += [m.astype(a.dtype).tobytes() for m, a in zip(made, arrays, strict=True)]
        return [sender.encode(), *frames]

    def take(self, given: Input) -> str:
        if self._sessions % _RENEW_EVERY == 0:
            self.renew()
        self._sessions, self._points = self._sessions + 1, 0
        sender, rest, accepted = given[0].decode(), list(given[1:]), 0
        while rest:
            arrays = rest.pop(0)[0]
            frames, rest = rest[: arrays + 1], rest[arrays + 1 :]
            accepted += self._message(sender, frames)
        if self._sessions % 20 == 0:
            json.dumps(instruments(self._agent, {}, lambda _: Replies()), allow_nan=False)
        return f"taken in, {accepted} of {MESSAGES} messages, {'with' if self._points else 'without'} points sent"

    def renew(self) -> None:
        if self._history is not None:
            self._history.close()
        self._history = History(self.folder / f"run-{next(self._runs)}")
        self._agent = Dispatcher(self._history, "run-fuzz", lambda: datetime.now(UTC))
        self._decided: dict[str, tuple[Scan, DriftRecord]] = {}  # by sample, the first scan that was decided on

    def close(self) -> None:
        if self._history is not None:
            self._history.close()
        super().close()

    def _message(self, sender: str, frames: Input) -> bool:
        """Whether a message is accepted; a scan is decided on, and what would be sent is checked."""
        agent = self._agent
        try:
            packet = codec.decode(frames)
            answer = agent.on_packet(sender, packet)
        except ProtocolError as error:
            refused = agent.refuse(sender, codec.message_id(frames), error)
            codec.encode(codec.Packet(refused))
            return False
        if answer is not None:
            codec.encode(codec.Packet(answer))  # type: ignore[arg-type]
        entry = agent.ledger.undecided(sender)
        if isinstance(packet.message, wire.ScanMessage) and entry is not None:
            self._decide(entry)
        if isinstance(packet.message, wire.ResultMessage):
            (event,) = agent.history.events(last=1)
            event_sentence(event)
        agent.decision_log.apply_policy(sender)
        entry = agent.due(sender)
        if entry is not None:
            message = agent.recommendation(entry)
            codec.encode(codec.Packet(message))
            agent.sent(entry)
            _check_fault(entry)
            _check_places(message, entry, agent.interlock.limits(sender))
            self._points += len(message.requests)
        return True

    def _decide(self, entry: ScanEntry) -> None:
        """The decision on a scan, with all its pixels as key points of two clusters."""
        agent = self._agent
        scan, limits, ledger = self._scan(entry.event.seq), agent.presence.limits(entry.instrument_id), agent.ledger
        earlier, drift = self._decided.get(entry.sample_id, (None, None))
        pair = ScanPair(earlier, scan, next(iter(scan.channels)))
        pair.__dict__["registration"] = Registration((0.01, -0.02), 0.9)  # a shift of parts of a pixel
        track = update_track(drift, pair, DriftSettings())
        xy = to_scan_coordinates(track, scan, ledger.measured_xy(entry.sample_id), ledger.measured_s(entry.sample_id))
        points = np.argwhere(np.ones((_ROWS, _COLS), dtype=bool))
        ledger.results(entry.sample_id).near_keypoints(scan.frame, [points], 3.0)
        rows = np.arange(len(points))
        pool = Pool(points, rows % 2, rows / 10.0, [rows[::2], rows[1::2]], points[:, :1] * 1.0, 3, rows[:0], points[:0])
        name = f"d-{entry.scan_id}"
        rng, settings = np.random.default_rng(0), RecommendSettings(policy="equal")
        found = recommend(pool, scan.frame, limits, xy, settings, name, rng)
        requests, _ = predict_targets(track, scan, found.requests, limits, DriftSettings())
        from tests.support.samples import decision

        made = decision(entry.scan_id, frame=scan.frame, sample_id=entry.sample_id, drift=track.record())
        record = made.record.model_copy(update={"requests": list(requests), "decision_id": name})
        agent.decision_log.decided(entry, type(made)(record, made.arrays), 1.0)
        self._decided.setdefault(entry.sample_id, (scan, record.drift))

    def _scan(self, seq: int) -> Scan:
        event = self._agent.history.event(seq)
        assert event is not None
        return scan_in(self._agent.history, event)


def _check_fault(entry: ScanEntry) -> None:
    if entry.approval is not None and "a fault in the agent" in entry.approval.reason:
        raise AssertionError(entry.approval.reason)


def _check_places(message: wire.RecommendationMessage, entry: ScanEntry, limits: wire.Limits) -> None:
    """Check the points that would be sent, without any code of the product."""
    header = entry.event.body["header"]
    frame, places = header["frame"], [(r.x_m, r.y_m) for r in message.requests]
    c, s = math.cos(frame["angle_rad"]), math.sin(frame["angle_rad"])
    for x_m, y_m in places:
        x, y = x_m - frame["x_offset_m"], y_m - frame["y_offset_m"]
        rounding = 1e-14 * max(1e-6, abs(x_m), abs(y_m), abs(frame["x_offset_m"]), abs(frame["y_offset_m"]))
        half = (frame["size_fast_m"] * (0.5 + 1e-8) + rounding, frame["size_slow_m"] * (0.5 + 1e-8) + rounding)
        inside = abs(x * c - y * s) <= half[0] and abs(x * s + y * c) <= half[1]
        if not (inside and limits.x_min_m <= x_m <= limits.x_max_m and limits.y_min_m <= y_m <= limits.y_max_m):
            raise AssertionError(f"wrong place: ({x_m}, {y_m}) m")
    apart = min((math.dist(a, b) for a, b in combinations(places, 2)), default=math.inf)
    if apart < limits.spacing_min_m * (1 - 1e-5) or len(places) > limits.points_max:
        raise AssertionError(f"wrong places: {len(places)} points, the nearest {apart} m apart")


def _session(sender: str, unique: str, rng: Random) -> list[tuple[dict[str, Any], list[np.ndarray]]]:
    """Headers and arrays of the messages of one session, all of them ordinary."""
    scans = [f"s{unique}-{n}" for n in (1, 2)]
    limits = wire.Limits(scan_age_max_s=1e8, spacing_min_m=rng.choice((0.0, 1e-7)))
    hello = {"instrument_id": sender, "model": "MFP-3D", "software": "x", "limits": limits.model_dump(), "bias_V": 8.0}
    session = [
        ("hello", hello, []),
        _scan(scans[0], unique),
        *(_result(f"d-{scans[0]}-{n:03}", rng) for n in range(3)),
        _scan(scans[1], unique),
        *(_result(f"d-{scans[1]}-{n:03}", rng) for n in range(2)),
        ("trouble", {"event": "scan_failed", "sentence": "it failed"}, []),
        rng.choice(
            (
                ("heartbeat", {"seq": 0, "unanswered": 1}, []),
                ("resend", {"after": 0}, []),
                ("status", {"activity": "waiting", "points_left": 3, "sentence": "it waits"}, []),
                ("ack", {"of": f"rec-d-{scans[1]}"}, []),
            )
        ),
    ]
    assert len(session) == MESSAGES
    return [
        ({"version": 2, "type": kind, "id": f"{n}-{unique}", "sent_at": _NOW, "arrays": _specs(kind, arrays)} | fields, arrays)
        for n, (kind, fields, arrays) in enumerate(session)
    ]


def _scan(scan_id: str, unique: str) -> tuple[str, dict[str, Any], list[np.ndarray]]:
    frame = {"size_fast_m": 2e-6, "size_slow_m": 1e-6, "x_offset_m": -3e-6, "y_offset_m": 4e-6, "angle_rad": 0.5}
    number = int(scan_id[-1])
    times = {"started_at": f"2026-01-02T02:{number}0:00Z", "finished_at": f"2026-01-02T02:{number}4:00Z"}
    fields = {
        "scan_id": scan_id,
        "sample_id": f"film{unique}",
        "frame": frame | {"rows": _ROWS, "cols": _COLS},
        "metadata": {"ScanDown": 1.0},
    }
    channels = [{"name": "Amplitude", "unit": "m"}]
    return "scan", fields | times | {"channels": channels}, [np.ones((1, _ROWS, _COLS), "<f4")]


def _result(request_id: str, rng: Random) -> tuple[str, dict[str, Any], list[np.ndarray]]:
    place = {"x_m": -3e-6 + rng.uniform(-1e-6, 1e-6), "y_m": 4e-6 + rng.uniform(-1e-6, 1e-6)}
    fields = {"request_id": request_id, "status": rng.choice(("ok", "ok", "ok", "failed", "skipped")), "reason": "so", **place}
    numbers = {"area_pmV": rng.uniform(100, 400), "imprint_V": rng.uniform(-1, 1)}
    loop = [np.linspace(-8, 8, 4), np.zeros(4)]
    return "result", fields | {"measured_at": "2026-01-02T02:50:00Z", "parameters": numbers}, loop


def _specs(kind: str, arrays: list[np.ndarray]) -> list[dict[str, Any]]:
    names = ("channels",) if kind == "scan" else ("bias_V", "response")
    return [{"name": name, "dtype": a.dtype.str, "shape": list(a.shape)} for name, a in zip(names, arrays, strict=False)]


def _with_extremes(header: dict[str, Any], share: float, rng: Random) -> dict[str, Any]:
    """The header with a share of its numbers, dates and free texts replaced by extreme ones of the same type."""
    header = copy.deepcopy(header)
    todo: list[dict[str, Any]] = [header]
    while todo:
        part = todo.pop()
        for key, value in list(part.items()):
            if isinstance(value, dict):
                todo.append(value)
            elif key not in ("version", "arrays", "rows", "cols") and rng.random() < share:
                part[key] = _extreme(key, value, rng)
        if part is header.get("parameters") and rng.random() < share:
            part[rng.choice(_NAMES)] = _real(rng)
    return header


def _extreme(key: str, value: Any, rng: Random) -> Any:
    if isinstance(value, float):
        return _real(rng) if rng.random() < 0.8 else value * rng.choice((1 + 1e-15, -1.0, 1e3, 1e-3))
    if isinstance(value, int):
        return rng.choice(_COUNTS)
    if key.endswith("_at"):
        return rng.choice(_DATES)
    if key in ("model", "software", "sentence", "reason"):
        return rng.choice(_TEXTS + _NAMES)
    return value


def _real(rng: Random) -> float:
    return rng.choice((1.0, 1.0, -1.0)) * rng.choice(_REALS + _REALS + _HUGE) * rng.choice((1.0, 1.0, 0.999999, 0.3))


def _value(rng: Random) -> float:
    return rng.choice(_VALUES)
