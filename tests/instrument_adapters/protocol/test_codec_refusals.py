"""Anything that is not a valid message is refused with a code and a sentence, and has no other effect."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from instrument_adapters.errors import ProtocolError
from instrument_adapters.protocol import codec
from instrument_adapters.protocol.messages import ANY_MESSAGE, Refused

GOLDEN = Path(__file__).parents[2] / "golden" / "wire"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def frames_of(name):
    """Frames of a golden message, its arrays filled with ones."""
    header = (GOLDEN / f"{name}.json").read_bytes()
    return [header, *(np.ones(a["shape"], a["dtype"]).tobytes() for a in json.loads(header)["arrays"])]


def header_of(name, **changes):
    return json.dumps(json.loads((GOLDEN / f"{name}.json").read_bytes()) | changes).encode()


SPEC = {"name": "channels", "dtype": "<f4", "shape": [2, 2, 3]}
ONES = np.ones(12, "<f4").tobytes()
FRAME = json.loads((GOLDEN / "scan.json").read_bytes())["frame"]
NAN, INF = float("nan"), float("inf")

REFUSED = {
    "nothing at all": ([], "no_header", "begins with a JSON header"),
    "an empty header": ([b""], "bad_json", "not JSON"),
    "not JSON": ([b"hello"], "bad_json", "not JSON"),
    "not text": ([b"\xff\xfe\x00\xff"], "bad_json", "not JSON"),
    "half of the JSON": ([header_of("ack")[:40]], "bad_json", "not JSON"),
    "a list": ([b"[1]"], "bad_json", "must be a JSON object, got list"),
    "nested too deeply": ([b'{"version":1,"a":' + b"[" * 100_000], "bad_json", "not JSON: .*recursion"),
    "nested deeply in the version": ([b'{"version":' + b"[" * 500 + b"]" * 500 + b"}"], "unknown_version", "version list is not"),
    "an integer of 5000 digits": ([b'{"version":' + b"9" * 5000 + b"}"], "bad_json", "not JSON"),
    "another version": ([header_of("ack", version=1)], "unknown_version", "version 1 is not supported, only 2; use the same"),
    "no version": ([b"{}"], "unknown_version", "version NoneType"),
    "a version that is true": ([header_of("ack", version=True)], "unknown_version", "version True"),
    "a version as a long text": ([header_of("ack", version="1" * 99)], "unknown_version", "version 1{20} is"),
    "an unknown type": ([header_of("ack", type="dance")], "bad_message", "'dance'"),
    "no type": ([b'{"version":2}'], "bad_message", "discriminator"),
    "an unknown field": ([header_of("ack", colour="red")], "bad_message", "ack.colour: Extra inputs are not permitted"),
    "a missing field": ([b'{"version":2,"type":"ack"}'], "bad_message", "ack.id: Field required"),
    "a number as text": ([header_of("welcome", scans_recorded="2")], "bad_message", "valid integer"),
    "a boolean as text": ([header_of("ack", duplicate="true")], "bad_message", "valid boolean"),
    "a time as a number": ([header_of("ack", sent_at=1e9)], "bad_message", "ack.sent_at"),
    "a time without a zone": ([header_of("ack", sent_at="2026-01-02T03:04:05")], "bad_message", "timezone"),
    "half a surrogate pair": ([header_of("bye", reason="\ud800")], "bad_message", "Invalid JSON"),
    "no UTF-8": ([header_of("ack").decode().encode("utf-16")], "bad_message", "Invalid JSON"),
    "a NaN in the geometry": ([header_of("scan", frame=FRAME | {"x_offset_m": NAN}), ONES], "bad_message", "finite"),
    "an infinite size": ([header_of("scan", frame=FRAME | {"size_fast_m": INF}), ONES], "bad_message", "finite"),
    "a frame larger than any": ([header_of("scan", frame=FRAME | {"rows": 10**30}), ONES], "bad_message", "rows"),
    "two channels of one name": (
        [header_of("scan", channels=[{"name": "a"}, {"name": "a"}]), ONES],
        "bad_message",
        "two channels of a scan have the same name",
    ),
    "the wrong shape": ([header_of("scan", arrays=[SPEC | {"shape": [2, 3, 2]}]), ONES], "bad_message", r"of shape \(2, 2, 3\)"),
    "the wrong dtype for a scan": ([header_of("scan", arrays=[SPEC | {"dtype": "<f8"}]), ONES * 2], "bad_message", "'<f4'"),
    "an unknown dtype": ([header_of("scan", arrays=[SPEC | {"dtype": "|O"}]), ONES], "bad_message", "dtype"),
    "a negative side": (
        [header_of("result", arrays=[SPEC | {"shape": [-1]}]), ONES],
        "bad_message",
        "greater than or equal to 0",
    ),
    "too many sides": ([header_of("result", arrays=[SPEC | {"shape": [1] * 5}]), ONES], "bad_message", "at most 4"),
    "too few bytes": ([header_of("scan"), ONES[:-1]], "wrong_byte_count", "needs 48 bytes, 47 were received"),
    "too many bytes": ([header_of("scan"), ONES + b"\x00"], "wrong_byte_count", "needs 48 bytes, 49 were received"),
    "sides whose product overflows": (
        [header_of("result", arrays=[SPEC | {"shape": [1 << 24] * 4}]), ONES],
        "wrong_byte_count",
        "48 were received",
    ),
    "an empty array whose other sides overflow": (
        [header_of("result", arrays=[SPEC | {"shape": [0] + [1 << 24] * 3}]), b""],
        "bad_arrays",
        "cannot have shape",
    ),
    "a frame too few": ([header_of("scan")], "wrong_frame_count", "announces 1 arrays, 0 were received"),
    "a frame too many": ([header_of("ack"), ONES], "wrong_frame_count", "announces 0 arrays, 1 were received"),
    "two arrays of one name": ([header_of("result", arrays=[SPEC, SPEC]), ONES, ONES], "bad_arrays", "the same name"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_exactly_a_message_is_refused_with_a_code_and_a_sentence(name):
    frames, code, sentence = REFUSED[name]
    with pytest.raises(ProtocolError, match=sentence) as caught:
        codec.decode(frames)
    assert caught.value.code == code
    Refused(id="r1", sent_at=NOW, of=codec.message_id(frames), code=caught.value.code, reason=caught.value.reason)


@pytest.mark.parametrize(
    ("limit", "sentence"), [("MAX_HEADER_BYTES", "the header has"), ("MAX_ARRAY_BYTES", "an array frame has")]
)
def test_a_frame_that_is_too_large_is_refused_before_it_is_read(monkeypatch, limit, sentence):
    monkeypatch.setattr(codec, limit, 40)
    with pytest.raises(ProtocolError, match=f"{sentence} .*at most 40 are accepted") as caught:
        codec.decode(frames_of("scan"))
    assert caught.value.code == "oversized_frame"


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xff",
        b"[]",
        b"7",
        b"{}",
        b'{"id": 7}',
        b'{"id": ""}',
        b'{"id": "a b"}',
        b'{"id": "' + b"a" * 97 + b'"}',
        b"[" * 10**6,
    ],
    ids=lambda h: h[:12].decode(errors="replace"),
)
def test_garbage_has_no_id(header):
    assert codec.message_id([header]) is None
    assert codec.message_id([]) is None


def test_an_unacceptable_message_still_has_its_id(monkeypatch):
    assert codec.message_id([b'{"id": "x1", "version": 99}']) == "x1"
    monkeypatch.setattr(codec, "MAX_HEADER_BYTES", 10)
    assert codec.message_id([b'{"id": "x1", "version": 99}']) is None


# -- random damage

NASTY = [
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999",
    b"-1",
    b"9" * 400,
    b"9" * 5000,
    b"true",
    b"null",
    b'""',
    b"[]",
    b"{}",
    b"[" * 5000,
]


def mutated(rng, frames):
    """Frames with one to four faults: bytes changed, removed, copied or inserted, values replaced, frames dropped or added."""
    frames = [bytearray(f) for f in frames]
    for _ in range(rng.integers(1, 5)):
        frame = frames[rng.integers(len(frames))]
        at = int(rng.integers(len(frame) + 1))
        match int(rng.integers(7)):
            case 0 if at < len(frame):
                frame[at] = rng.integers(256)
            case 1:
                del frame[at : at + int(rng.integers(1, 9))]
            case 2:
                frame[at:at] = rng.bytes(int(rng.integers(1, 9)))
            case 3:
                frame[at:at] = frame[: int(rng.integers(1, 60))]
            case 4 if frames[0]:
                numbers = list(re.finditer(rb"-?\d[\d.e-]*|\"[^\"]*\"", bytes(frames[0])))
                if numbers:
                    start, end = numbers[rng.integers(len(numbers))].span()
                    frames[0][start:end] = NASTY[rng.integers(len(NASTY))]
            case 5 if len(frames) > 1:
                frames.pop()
            case 6:
                frames.append(bytearray(frames[-1][:100]))
    return [bytes(f) for f in frames]


LIMITS = json.loads((GOLDEN / "hello.json").read_bytes())["limits"]
REQUEST = json.loads((GOLDEN / "recommendation.json").read_bytes())["requests"][0]
IMPOSSIBLE = {
    "a position of 1e308 m": ("result", {"x_m": 1.7e308}, "x_m is 1.7e[+]308, which cannot be: -1 to 1 is possible"),
    "a position of 2 m": ("result", {"y_m": -2.0}, "y_m is -2, "),
    "a parameter beyond all": ("result", {"parameters": {"area_pmV": 1e300}}, "parameters.area_pmV is 1e[+]300"),
    "a measurement in the year 9999": ("result", {"measured_at": "9999-12-31T23:59:59Z"}, "measured_at is 9999-12-31T23:59:59"),
    "a scan that ended in the year 9999": ("scan", {"finished_at": "9999-12-31T23:59:59Z"}, "finished_at is 9999"),
    "a scan that began in the year 1": (
        "scan",
        {"started_at": "0001-01-01T00:00:00+14:00"},
        "started_at is 0001-01-01.*1900-01-01 to",
    ),
    "a frame of 1e-320 m": ("scan", {"frame": FRAME | {"size_slow_m": 1e-320}}, "frame.size_slow_m is 9.99.*1e-12 to 1"),
    "a frame a kilometre away": ("lines", {"frame": FRAME | {"x_offset_m": 1e3}}, "frame.x_offset_m is 1000"),
    "a turn of 1e300 rad": ("scan", {"frame": FRAME | {"angle_rad": 1e300}}, "frame.angle_rad"),
    "a clock in the year 9999": ("hello", {"sent_at": "9999-12-31T23:59:59-23:59"}, "sent_at is 9999"),
    "a bias of a megavolt": ("hello", {"bias_V": 1e6}, "bias_V is 1e[+]06, which cannot be: 0 to 1000"),
    "a stage of 1e308 m": ("hello", {"limits": LIMITS | {"x_max_m": 1e308}}, "limits.x_max_m"),
    "a scan that may be a million years old": ("hello", {"limits": LIMITS | {"scan_age_max_s": 3e13}}, "limits.scan_age_max_s"),
    "as many points as never were": (
        "hello",
        {"limits": LIMITS | {"points_max": 10**400}},
        "points_max is an integer of 1329 bits",
    ),
    "a number beyond all sequences": ("heartbeat", {"seq": 2**63}, "seq is an integer of 64 bits"),
    "a pixel outside any image": ("recommendation", {"requests": [REQUEST | {"row": 65536}]}, "requests.0.row is 65536"),
    "an expiry after all instruments": ("recommendation", {"expires_at": "9999-01-01T00:00:00Z"}, "expires_at"),
}


@pytest.mark.attack(
    "a message holds a number or a date that cannot be", promise="it is refused at the door, with the field and the bounds"
)
@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_a_value_that_cannot_be_is_refused_at_the_door_with_its_name_and_the_bounds(case):
    name, changes, sentence = IMPOSSIBLE[case]
    frames = [header_of(name, **changes), *frames_of(name)[1:]]
    with pytest.raises(ProtocolError, match=sentence) as caught:
        codec.decode(frames)
    assert caught.value.code == "impossible_value"


def test_a_sender_refuses_to_send_what_a_receiver_would_refuse():
    packet = codec.decode(frames_of("result"))
    wrong = packet.message.model_copy(update={"x_m": 1.7e308})
    with pytest.raises(ProtocolError, match="x_m is"):
        codec.encode(codec.Packet(wrong, packet.arrays))


def test_every_number_and_date_of_a_message_has_bounds():
    """Only the instrument's own note may hold any finite number."""

    def parts(schema):
        yield schema
        for nested in (*schema.get("anyOf", []), *(schema[k] for k in ("items", "additionalProperties") if schema.get(k))):
            yield from parts(nested)

    def is_unbounded(schema):
        numeric = schema.get("type") in ("integer", "number") or schema.get("format") == "date-time"
        return numeric and "const" not in schema and "maximum" not in schema

    models = ANY_MESSAGE.json_schema()["$defs"]
    fields = [(model, name, schema) for model, about in models.items() for name, schema in about["properties"].items()]
    assert {f"{model}.{name}" for model, name, schema in fields if any(map(is_unbounded, parts(schema)))} == {
        "ScanMessage.metadata"
    }


@pytest.mark.slow
def test_no_mutation_of_a_message_raises_anything_but_a_protocol_error():
    rng = np.random.default_rng(7)
    originals = [frames_of(p.stem) for p in sorted(GOLDEN.glob("*.json"))]
    refused = 0
    for i in range(6000):
        frames = mutated(rng, originals[i % len(originals)])
        of = codec.message_id(frames)
        try:
            packet = codec.decode(frames)
        except ProtocolError as error:
            refused += 1
            Refused(id="r1", sent_at=NOW, of=of, code=error.code, reason=error.reason)
        else:
            assert of == packet.message.id
            codec.encode(packet)
    assert refused > 3000
