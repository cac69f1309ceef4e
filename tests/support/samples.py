"""Small hand-made scans, messages and decisions."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import numpy as np

from agent.schema.decision import CandidateRecord, ClusterRecord, ConfigurationRecord, Decision, DecisionRecord
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.codec import Packet, decode, encode, scan_packet, specs
from instrument_adapters.scan import Scan

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FRAME = Frame(size_fast_m=1e-6, size_slow_m=1e-6, rows=3, cols=4)


class Clock:
    """A wall clock that advances by a second on every call."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> datetime:
        self.time += timedelta(seconds=1)
        return self.time


def sample_scan(scan_id: str = "scan-1", value: float = 0.5, sample_id: str = "bto", **changes: object) -> Scan:
    image = np.full((FRAME.rows, FRAME.cols), value, np.float32)
    fields = {"scan_id": scan_id, "sample_id": sample_id, "metadata": {"operator": "Łukasz"}} | changes
    return Scan({"Amplitude": image, "Height": 2 * image}, {"Amplitude": "m"}, FRAME, **fields)


def over_the_wire(packet: Packet) -> Packet:
    return decode(encode(packet))


def packet(message: wire.Message, arrays: Mapping[str, np.ndarray] | None = None) -> Packet:
    return over_the_wire(Packet(message, arrays or {}))


def hello(instrument_id: str = "afm-1", message_id: str = "hello-1", **limits: object) -> Packet:
    fields = {"instrument_id": instrument_id, "model": "MFP-3D", "software": "test", "limits": wire.Limits(**limits)}
    return packet(wire.Hello(id=message_id, sent_at=NOW, **fields))


def scan_message(scan: Scan, message_id: str = "m-scan") -> Packet:
    return over_the_wire(scan_packet(scan, wire.Heartbeat(id=message_id, sent_at=NOW)))


def result(request_id: str, status: str = "ok", message_id: str = "m-result", **fields: object) -> Packet:
    if status == "ok":
        arrays = {"bias_V": np.linspace(-1, 1, 5), "response": np.zeros(5)}
        fields = {"x_m": 1e-7, "y_m": 2e-7, "measured_at": NOW, "parameters": {"coercive_V": 2.5}} | fields
    else:
        arrays = {}
        fields = {"reason": "the tip was lifted"} | fields
    message = wire.ResultMessage(id=message_id, sent_at=NOW, arrays=specs(arrays), request_id=request_id, status=status, **fields)
    return packet(message, arrays)


def ack(of: str) -> Packet:
    return packet(wire.Ack(id="m-ack", sent_at=NOW, of=of))


def refused(of: str) -> Packet:
    return packet(wire.Refused(id="m-refused", sent_at=NOW, of=of, code="no", reason="the laser is off"))


def request(request_id: str, x_m: float = 1e-7, y_m: float = 2e-7, cluster: int = 0) -> wire.MeasurementRequest:
    place = {"x_m": x_m, "y_m": y_m, "row": 1, "col": 2, "cluster": cluster, "rank": 0, "core_distance": 0.5}
    return wire.MeasurementRequest(request_id=request_id, **place)


def candidate(name: str = "rt-w9-s0", guarded_out: str | None = None) -> CandidateRecord:
    return CandidateRecord(
        candidate_id=name,
        window_px=9,
        invariance="rt",
        latent_dim=2,
        beta=0.2,
        seed=0,
        elbo_per_px=-0.5,
        reconstruction_per_px=float("nan"),
        survivors=100,
        guarded_out=guarded_out,
        value=None if guarded_out else 1.5,
        metrics={"icl": -3.5},
    )


def configuration(window_px: int = 9, **changes: object) -> ConfigurationRecord:
    fields = {"invariance": "rt", "mean": 1.5, "std": 0.1, "seeds": 2, "types": 2, "sigmas_below_best": 0.0, "in_tie_set": True}
    return ConfigurationRecord(window_px=window_px, **(fields | changes))


def decision(scan_id: str = "scan-1", requests: tuple[wire.MeasurementRequest, ...] = (), **changes: object) -> Decision:
    name = f"d-{scan_id}"
    cluster = ClusterRecord(cluster=0, weight=1.0, mean=[0.0, 0.0], covariance=[[1.0, 0.0], [0.0, 1.0]], points=9, core_points=3)
    fields = {
        "decision_id": name,
        "scan_id": scan_id,
        "sample_id": "bto",
        "channel": "Amplitude",
        "unit": "m",
        "frame": FRAME,
        "outcome": "one_type_only",
        "explanation": "One type [/in brackets]; reward 1.5 ± 0.1.",
        "chosen": "rt-w9-s0",
        "config": {"seed": 0},
        "versions": {"python": "3"},
        "keypoints_found": 9,
        "keypoints_used": 9,
        "keypoints_dropped": {},
        "common_points": 9,
        "points_measured_before": 0,
        "configurations": [configuration()],
        "candidates": [candidate(), candidate("v-w5-s0", "collapsed: latent variance [0.1]")],
        "clusters": [cluster],
        "requests": list(requests) or [request(f"{name}-000"), request(f"{name}-001", 3e-7)],
    }
    return Decision(DecisionRecord(**(fields | changes)), {"points_rc": np.arange(18, dtype=np.int32).reshape(9, 2)})
