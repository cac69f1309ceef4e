import typing
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from instrument_adapters.geometry import Frame
from instrument_adapters.protocol import codec
from instrument_adapters.protocol.messages import (
    Ack,
    AnyMessage,
    ArraySpec,
    Bye,
    ChannelSpec,
    CommandMessage,
    Heartbeat,
    Hello,
    Limits,
    LinesMessage,
    MeasurementRequest,
    RecommendationMessage,
    Refused,
    Resend,
    ResultMessage,
    ScanMessage,
    Snapshot,
    SnapshotMessage,
    StatusMessage,
    TroubleMessage,
    Welcome,
)

GOLDEN = Path(__file__).parents[2] / "golden" / "wire"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
FRAME = Frame(size_fast_m=2e-6, size_slow_m=1e-6, x_offset_m=-3e-6, y_offset_m=4e-6, angle_rad=0.5, rows=2, cols=3)
CHANNELS = np.arange(12, dtype="<f4").reshape(2, 2, 3)
LOOP = {"bias_V": np.array([-1.0, 0.0, 1.0]), "response": np.array([np.nan, np.inf, -0.0])}
REQUEST = MeasurementRequest(request_id="r-1", x_m=1e-6, y_m=-2e-6, row=1, col=2, cluster=0, rank=3, core_distance=0.25)
SNAPSHOT = Snapshot(seq=4, state="paused", state_reason="Ada: lunch", stop_seq=2, newest_scan_id="s1", open_decision_id="d1")

EXAMPLES = {
    "hello": codec.Packet(
        Hello(
            id="hello-1",
            sent_at=NOW,
            instrument_id="mfp3d-b12",
            model="MFP-3D",
            software="vaestar 0.1.0",
            limits=Limits(),
            bias_V=8.0,
        )
    ),
    "welcome": codec.Packet(
        Welcome(id="welcome-1", sent_at=NOW, of="hello-1", run_id="run-7", scans_recorded=2, snapshot=SNAPSHOT)
    ),
    "resend": codec.Packet(Resend(id="resend-1", sent_at=NOW, after=2)),
    "snapshot": codec.Packet(SnapshotMessage(id="snapshot-1", sent_at=NOW, of="resend-1", snapshot=SNAPSHOT)),
    "command": codec.Packet(
        CommandMessage(id="command-5", sent_at=NOW, seq=5, command="stop", by="Ada", reason="the tip is near the edge")
    ),
    "status": codec.Packet(
        StatusMessage(id="status-1", sent_at=NOW, activity="measuring", scan_id="s1", request_id="r-1", points_left=3)
    ),
    "trouble": codec.Packet(
        TroubleMessage(id="trouble-1", sent_at=NOW, event="scan_failed", sentence="no scan was recorded: no laser")
    ),
    "ack": codec.Packet(Ack(id="ack-1", sent_at=NOW, of="scan-s1", duplicate=True, first_sent_at=NOW)),
    "refused": codec.Packet(Refused(id="refused-1", sent_at=NOW, of=None, code="bad_json", reason="das ist kein JSON – µ")),
    "heartbeat": codec.Packet(Heartbeat(id="heartbeat-1", sent_at=NOW, seq=4)),
    "bye": codec.Packet(Bye(id="bye-1", sent_at=NOW, reason="stopped")),
    "scan": codec.Packet(
        ScanMessage(
            id="scan-s1",
            sent_at=NOW,
            arrays=codec.specs({"channels": CHANNELS}),
            scan_id="s1",
            sample_id="PbTiO3",
            frame=FRAME,
            channels=(ChannelSpec(name="AmplitudeRetrace", unit="m"), ChannelSpec(name="PhaseRetrace", unit="deg")),
            started_at=NOW,
            metadata={"ImagingMode": "PFM Mode", "ScanRate": 0.5},
        ),
        {"channels": CHANNELS},
    ),
    "lines": codec.Packet(
        LinesMessage(
            id="lines-1",
            sent_at=NOW,
            arrays=codec.specs({"lines": CHANNELS[:, 1:]}),
            scan_id="s1",
            frame=FRAME,
            channels=(ChannelSpec(name="AmplitudeRetrace", unit="m"), ChannelSpec(name="PhaseRetrace", unit="deg")),
            first_row=1,
        ),
        {"lines": CHANNELS[:, 1:]},
    ),
    "recommendation": codec.Packet(
        RecommendationMessage(
            id="recommendation-1",
            sent_at=NOW,
            seq=4,
            decision_id="d1",
            scan_id="s1",
            requests=(REQUEST,),
            reason="the most typical",
            expires_at=NOW,
            bias_max_V=8.0,
            approved_by="Ada",
        )
    ),
    "result": codec.Packet(
        ResultMessage(
            id="result-r-1",
            sent_at=NOW,
            arrays=codec.specs(LOOP),
            request_id="r-1",
            status="ok",
            x_m=1e-6,
            y_m=-2e-6,
            measured_at=NOW,
            parameters={"coercive_plus_V": 2.5},
        ),
        LOOP,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_message_is_written_as_in_version_2_of_the_wire(name):
    header, *arrays = codec.encode(EXAMPLES[name])
    assert header == (GOLDEN / f"{name}.json").read_bytes().rstrip(b"\n")
    assert arrays == [a.tobytes() for a in EXAMPLES[name].arrays.values()]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_a_message_of_version_2_is_read(name):
    expected = EXAMPLES[name]
    golden = (GOLDEN / f"{name}.json").read_bytes()
    packet = codec.decode([golden, *(a.tobytes() for a in expected.arrays.values())])
    assert packet.message == expected.message
    assert {n: a.tobytes() for n, a in packet.arrays.items()} == {n: a.tobytes() for n, a in expected.arrays.items()}


def test_every_type_of_message_has_a_golden_file():
    union = typing.get_args(typing.get_args(AnyMessage)[0])
    assert {m.model_fields["type"].default for m in union} == set(EXAMPLES)
    assert {p.stem for p in GOLDEN.glob("*.json")} == set(EXAMPLES)


SCAN = EXAMPLES["scan"].message
LINES = EXAMPLES["lines"].message
RESULT = EXAMPLES["result"].message
TWO_CHANNELS = (ChannelSpec(name="a"), ChannelSpec(name="b"))

BROKEN = {
    "a scan without its array": (SCAN, {"arrays": ()}, "got none"),
    "a scan of another shape": (
        SCAN,
        {"arrays": (ArraySpec(name="channels", dtype="<f4", shape=(2, 3, 2)),)},
        r"of shape \(2, 2, 3\)",
    ),
    "a scan of float64": (SCAN, {"arrays": (ArraySpec(name="channels", dtype="<f8", shape=(2, 2, 3)),)}, "must be '<f4'"),
    "two channels of one name": (SCAN, {"channels": (ChannelSpec(name="a"), ChannelSpec(name="a"))}, "the same name"),
    "more channels than the array has": (SCAN, {"channels": (*TWO_CHANNELS, ChannelSpec(name="c"))}, r"\(3, 2, 3\)"),
    "a scan without channels": (SCAN, {"channels": ()}, "at least 1 item"),
    "lines beyond their frame": (LINES, {"first_row": 2}, "1 lines from row 2 on do not lie in a frame of 2 rows"),
    "lines before their frame": (LINES, {"first_row": -1}, "greater than or equal to 0"),
    "no line at all": (LINES, {"arrays": (ArraySpec(name="lines", dtype="<f4", shape=(2, 0, 3)),)}, "0 lines from row 1"),
    "lines of another width": (LINES, {"arrays": (ArraySpec(name="lines", dtype="<f4", shape=(2, 1, 4)),)}, "3 columns"),
    "lines of fewer channels": (LINES, {"channels": (ChannelSpec(name="a"),)}, "1 channels"),
    "lines of float64": (LINES, {"arrays": (ArraySpec(name="lines", dtype="<f8", shape=(2, 1, 3)),)}, "'<f4'"),
    "lines without their array": (LINES, {"arrays": ()}, "one array 'lines'"),
    "a time without its zone": (SCAN, {"started_at": datetime(2026, 1, 2)}, "timezone"),  # noqa: DTZ001
    "a measured result without its place": (RESULT, {"x_m": None}, "needs x_m, y_m and measured_at"),
    "a failure without a reason": (RESULT, {"status": "failed"}, "needs a reason"),
    "a parameter that is no number": (RESULT, {"parameters": {"coercive_V": float("nan")}}, "finite"),
    "curves of different lengths": (
        RESULT,
        {"arrays": (ArraySpec(name="bias_V", dtype="<f8", shape=(3,)), ArraySpec(name="response", dtype="<f8", shape=(4,)))},
        "the same shape",
    ),
    "an id with a blank": (RESULT, {"id": "a b"}, "pattern"),
    "an id with a line feed at its end": (RESULT, {"id": "a\n"}, "pattern"),
    "a position that is infinite": (REQUEST, {"x_m": float("inf")}, "finite"),
    "a frame of size NaN": (FRAME, {"size_fast_m": float("nan")}, "greater than 0|finite"),
    "a frame at NaN": (FRAME, {"x_offset_m": float("nan")}, "finite"),
    "a frame of one line": (FRAME, {"rows": 1}, "greater than or equal to 2"),
    "a limit that is infinite": (Limits(), {"x_max_m": float("inf")}, "finite"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_message_that_contradicts_itself_cannot_be_made(name):
    good, change, why = BROKEN[name]
    fields = {n: getattr(good, n) for n in type(good).model_fields} | change
    with pytest.raises(ValidationError, match=why):
        type(good)(**fields)


def test_a_message_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        SCAN.scan_id = "s2"
