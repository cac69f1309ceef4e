from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from instrument_adapters.bounds import EARLIEST, LATEST
from instrument_adapters.errors import ProtocolError
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol import codec
from instrument_adapters.protocol.messages import Ack, ChannelSpec, Heartbeat, Message, ResultMessage, ScanMessage
from instrument_adapters.scan import Scan

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

# -- round trips

ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}", fullmatch=True)
names = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]), min_size=1, max_size=64)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)
finite = st.floats(-1e30, 1e30)
metres = st.floats(-1.0, 1.0)
times = st.datetimes(
    EARLIEST.replace(tzinfo=None, day=2),
    LATEST.replace(tzinfo=None, year=2199),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=-30)), timezone(timedelta(hours=9))]),
)
floats = st.sampled_from(["<f4", "<f8"])


@st.composite
def scan_packets(draw):
    units = draw(st.dictionaries(names, texts.map(lambda t: t[:16]), min_size=1, max_size=3))
    rows, cols = draw(st.integers(2, 5)), draw(st.integers(2, 5))
    stack = draw(hnp.arrays("<f4", (len(units), rows, cols)))
    offsets = draw(st.tuples(metres, metres, metres))
    message = ScanMessage(
        id=draw(ids),
        sent_at=draw(times),
        arrays=codec.specs({"channels": stack}),
        scan_id=draw(ids),
        sample_id=draw(ids),
        frame=Frame(
            size_fast_m=draw(st.floats(1e-12, 1.0)),
            size_slow_m=1e-6,
            x_offset_m=offsets[0],
            y_offset_m=offsets[1],
            angle_rad=offsets[2],
            rows=rows,
            cols=cols,
        ),
        channels=tuple(ChannelSpec(name=n, unit=u) for n, u in units.items()),
        started_at=draw(st.none() | times),
        metadata=draw(st.dictionaries(names, texts | finite, max_size=5)),
    )
    return codec.Packet(message, {"channels": stack})


@st.composite
def result_packets(draw):
    shape = draw(hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4))
    arrays = draw(st.dictionaries(names, floats.flatmap(lambda d: hnp.arrays(d, shape)), max_size=4))
    message = ResultMessage(
        id=draw(ids),
        sent_at=draw(times),
        arrays=codec.specs(arrays),
        request_id=draw(ids),
        status="ok",
        reason=draw(texts),
        x_m=draw(metres),
        y_m=draw(metres),
        measured_at=draw(times),
        parameters=draw(st.dictionaries(names, finite, max_size=5)),
    )
    return codec.Packet(message, arrays)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(scan_packets() | result_packets())
def test_a_packet_comes_back_as_it_was(packet):
    frames = codec.encode(packet)
    back = codec.decode(frames)
    assert back.message == packet.message
    assert list(back.arrays) == list(packet.arrays)
    for name, array in packet.arrays.items():
        assert (back.arrays[name].shape, back.arrays[name].dtype) == (array.shape, array.dtype)
        assert back.arrays[name].tobytes() == array.tobytes()  # NaN and the sign of zero included
    assert codec.encode(back) == frames
    assert codec.message_id(frames) == packet.message.id


def test_a_scan_comes_back_as_it_was():
    image = np.array([[1, np.nan], [np.inf, -0.0]], np.float32)
    frame = Frame(size_fast_m=1e-6, size_slow_m=2e-6, rows=2, cols=2)
    scan = Scan({"Höhe": image}, {"Höhe": "m"}, frame, "s1", "film", started_at=NOW, metadata={"Rate": 1.5, "Note": "µ"})
    back = codec.scan_from_packet(codec.decode(codec.encode(codec.scan_packet(scan, Message(id="m1", sent_at=NOW)))))
    assert np.array_equal(back.channels["Höhe"], image, equal_nan=True)
    assert (back.units, back.frame, back.scan_id, back.sample_id) == (scan.units, frame, "s1", "film")
    assert (back.started_at, back.finished_at, back.metadata) == (NOW, None, {"Rate": 1.5, "Note": "µ"})


def test_only_a_scan_message_carries_a_scan():
    with pytest.raises(ProtocolError, match="'ack' message carries no scan"):
        codec.scan_from_packet(codec.Packet(Ack(id="a1", sent_at=NOW, of="b1")))


def test_an_array_in_any_memory_order_is_sent_in_the_order_of_its_indices():
    array = np.asfortranarray(np.arange(6.0).reshape(2, 3))
    message = Ack(id="a1", sent_at=NOW, of="b1", arrays=codec.specs({"x": array}))
    assert codec.encode(codec.Packet(message, {"x": array}))[1] == np.arange(6.0).tobytes()


def test_a_message_without_arrays_is_one_frame():
    assert len(codec.encode(codec.Packet(Heartbeat(id="h1", sent_at=NOW)))) == 1


def test_an_array_may_hold_no_value_at_all():
    message = Ack(id="a1", sent_at=NOW, of="b1", arrays=codec.specs({"x": np.zeros((0, 3))}))
    back = codec.decode(codec.encode(codec.Packet(message, {"x": np.zeros((0, 3))})))
    assert back.arrays["x"].shape == (0, 3)


def test_received_arrays_cannot_be_written_to():
    message = Ack(id="a1", sent_at=NOW, of="b1", arrays=codec.specs({"x": np.zeros(3)}))
    back = codec.decode(codec.encode(codec.Packet(message, {"x": np.zeros(3)})))
    assert not back.arrays["x"].flags.writeable


# -- what cannot be sent


@pytest.mark.parametrize("dtype", [np.int32, np.float16, ">f4", bool, complex])
def test_an_array_of_another_type_is_not_sent(dtype):
    with pytest.raises(ProtocolError, match="the wire carries float32 and float64 only") as caught:
        codec.specs({"x": np.zeros(3, dtype)})
    assert caught.value.code == "bad_dtype"


def test_a_header_that_does_not_describe_its_arrays_is_not_sent():
    with pytest.raises(ProtocolError, match="does not describe the arrays"):
        codec.encode(codec.Packet(Ack(id="a1", sent_at=NOW, of="b1"), {"x": np.zeros(3)}))


def test_an_array_larger_than_a_receiver_accepts_is_not_sent(monkeypatch):
    monkeypatch.setattr(codec, "MAX_ARRAY_BYTES", 16)
    array = np.zeros(3)
    with pytest.raises(ProtocolError, match="an array frame has 24 bytes, at most 16 are accepted"):
        codec.encode(codec.Packet(Ack(id="a1", sent_at=NOW, of="b1", arrays=codec.specs({"x": array})), {"x": array}))


@pytest.mark.parametrize(
    ("limits", "channels", "note"),
    [
        ({}, 2, {}),
        ({"MAX_ARRAY_BYTES": 2 * 3 * 4 * 4}, 2, {}),
        ({"MAX_ARRAY_BYTES": 2 * 3 * 4 * 4 - 1}, 2, {}),
        ({"MAX_HEADER_BYTES": 700}, 2, {"Text": "\x01" * 100}),
        ({}, 33, {}),
        ({}, 1, {"Text": "x" * 65_537}),
    ],
    ids=["small", "just small enough", "a byte too large", "a note that grows as JSON", "channels", "a long note"],
)
def test_what_cannot_be_sent_is_known_without_making_the_message(
    monkeypatch: pytest.MonkeyPatch, limits: dict[str, int], channels: int, note: dict[str, str]
) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(codec, name, value)
    image = np.zeros((3, 4), np.float32)
    scan = Scan(
        {f"C{n}": image for n in range(channels)}, {}, Frame(size_fast_m=1, size_slow_m=1, rows=3, cols=4), "s", metadata=note
    )

    def outcome(act) -> str:
        try:
            act()
        except ValueError as error:
            return f"{type(error).__name__}"
        return "fine"

    sent = outcome(lambda: codec.encode(codec.scan_packet(scan, Heartbeat(id="m", sent_at=NOW))))
    assert outcome(lambda: codec.check_sendable(scan)) == sent
