"""Encoding and decoding of messages: frames `[JSON header][raw array]...`. Everything else is refused.

Arrays are sent as little-endian raw bytes, because a 256 x 256 channel takes 200 ms as JSON lists and 0.1 ms raw.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np
from pydantic import TypeAdapter, ValidationError

from instrument_adapters.bounds import impossible_value
from instrument_adapters.errors import ProtocolError
from instrument_adapters.protocol.live_lines import Lines
from instrument_adapters.protocol.messages import (
    ANY_MESSAGE,
    PROTOCOL_VERSION,
    AnyMessage,
    ArraySpec,
    ChannelSpec,
    Heartbeat,
    Id,
    LinesMessage,
    Message,
    ScanMessage,
)
from instrument_adapters.scan import Scan

MAX_HEADER_BYTES = 4 << 20
MAX_ARRAY_BYTES = 512 << 20  # a 4096 x 4096 scan of six channels is 402 MB
_ID: TypeAdapter[str] = TypeAdapter(Id)
_LONGEST_ID = "x" * 96
_LONGEST = Heartbeat(id=_LONGEST_ID, sent_at=datetime(2000, 1, 1, 1, 1, 1, 123456, tzinfo=UTC))


@dataclass(frozen=True, eq=False)
class Packet:
    """A decoded message with its arrays by name."""

    message: AnyMessage
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)


def specs(arrays: Mapping[str, np.ndarray]) -> tuple[ArraySpec, ...]:
    """Descriptions of `arrays` for the header; each must be float32 or float64.

    Raises
    ------
    ProtocolError
        If an array has another dtype.
    """
    for name, array in arrays.items():
        if array.dtype not in (np.float32, np.float64):
            raise ProtocolError("bad_dtype", f"array '{name}' is {array.dtype}; the wire carries float32 and float64 only")
    return tuple(ArraySpec(name=n, dtype="<f4" if a.dtype == np.float32 else "<f8", shape=a.shape) for n, a in arrays.items())


def encode(packet: Packet) -> list[bytes]:
    """Frames of a message: its header as JSON, then the bytes of each array.

    Raises
    ------
    ProtocolError
        If the header does not describe the arrays, or a receiver would refuse a value or the size of a frame.
    """
    if packet.message.arrays != specs(packet.arrays):
        raise ProtocolError("bad_arrays", "the header's 'arrays' does not describe the arrays to send")
    _check_values(packet.message)
    header = packet.message.model_dump_json().encode()
    body = [
        np.ascontiguousarray(a, dtype=s.dtype).tobytes()
        for a, s in zip(packet.arrays.values(), packet.message.arrays, strict=True)
    ]
    _check_sizes([header, *body])
    return [header, *body]


def decode(frames: Sequence[bytes]) -> Packet:
    """The message in `frames`, fully checked: version, fields, bounds in physics, and the size, dtype and shape of each array.

    Arrays are read-only views of the received bytes.

    Raises
    ------
    ProtocolError
        If the frames are not a valid message; it has a code and a sentence.
    """
    if not frames:
        raise ProtocolError("no_header", "an empty message was received; a message begins with a JSON header")
    _check_sizes(frames)
    message = _parse_header(frames[0])
    _check_values(message)
    if len(frames) - 1 != len(message.arrays):
        raise ProtocolError(
            "wrong_frame_count", f"the header announces {len(message.arrays)} arrays, {len(frames) - 1} were received"
        )
    if len({s.name for s in message.arrays}) != len(message.arrays):
        raise ProtocolError("bad_arrays", "two arrays of a message have the same name")
    arrays = {s.name: _array(s, f) for s, f in zip(message.arrays, frames[1:], strict=True)}
    return Packet(message, arrays)


def message_id(frames: Sequence[bytes]) -> str | None:
    """Id in a header that could not be decoded, for the refusal; None if it has no valid id."""
    try:
        found = json.loads(frames[0]).get("id") if frames and len(frames[0]) <= MAX_HEADER_BYTES else None
    except (ValueError, AttributeError, RecursionError):
        return None
    try:
        return _ID.validate_python(found, strict=True)
    except ValidationError:
        return None


def explain(error: ValueError) -> str:
    """One line on why a message or its arrays are invalid: the field and the problem."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(p) for p in first["loc"]) or "message"
    return f"{where}: {first['msg']}"[:500]


def scan_packet(scan: Scan, message: Message) -> Packet:
    """Packet with a `ScanMessage` of `scan`; id and time are those of `message`.

    Raises
    ------
    ValueError
        If the wire cannot carry the scan.
    """
    packet = Packet(_scan_message(scan, message), {"channels": np.stack(list(scan.channels.values()))})
    _check_values(packet.message)
    return packet


def check_sendable(scan: Scan) -> None:
    """Raise an error if `encode(scan_packet(scan, ...))` would; no array is copied.

    Raises
    ------
    ProtocolError
        If its header or its array is larger than a receiver accepts.
    ValueError
        If a field is invalid.
    """
    message = _scan_message(replace(scan, sample_id=_LONGEST_ID), _LONGEST)
    _check_values(message)
    _check_lengths([len(message.model_dump_json().encode()), *(spec.nbytes for spec in message.arrays)])


def _scan_message(scan: Scan, message: Message) -> ScanMessage:
    shape = (len(scan.channels), scan.frame.rows, scan.frame.cols)
    return ScanMessage(
        id=message.id,
        sent_at=message.sent_at,
        arrays=(ArraySpec(name="channels", dtype="<f4", shape=shape),),
        scan_id=scan.scan_id,
        sample_id=scan.sample_id,
        frame=scan.frame,
        channels=tuple(ChannelSpec(name=n, unit=scan.units.get(n, "")) for n in scan.channels),
        started_at=scan.started_at,
        finished_at=scan.finished_at,
        metadata=dict(scan.metadata),
    )


def lines_packet(lines: Lines, message: Message) -> Packet:
    """Packet with a `LinesMessage` of `lines`; id and time are those of `message`."""
    arrays = {"lines": np.stack(list(lines.channels.values()))}
    return Packet(
        LinesMessage(
            id=message.id,
            sent_at=message.sent_at,
            arrays=specs(arrays),
            scan_id=lines.scan_id,
            frame=lines.frame,
            channels=tuple(ChannelSpec(name=n, unit=lines.units.get(n, "")) for n in lines.channels),
            first_row=lines.first_row,
        ),
        arrays,
    )


def scan_from_packet(packet: Packet) -> Scan:
    """The `Scan` that a `ScanMessage` carries."""
    message = packet.message
    if not isinstance(message, ScanMessage):
        raise ProtocolError("not_a_scan", f"a '{message.type}' message carries no scan")
    stack = packet.arrays["channels"]
    return Scan(
        channels={c.name: np.asarray(stack[i], dtype=np.float32) for i, c in enumerate(message.channels)},
        units={c.name: c.unit for c in message.channels},
        frame=message.frame,
        scan_id=message.scan_id,
        sample_id=message.sample_id,
        started_at=message.started_at,
        finished_at=message.finished_at,
        metadata=message.metadata,
    )


def _check_values(message: AnyMessage) -> None:
    if reason := impossible_value(message):
        raise ProtocolError("impossible_value", reason)


def _check_sizes(frames: Sequence[bytes]) -> None:
    _check_lengths([len(frame) for frame in frames])


def _check_lengths(lengths: Sequence[int]) -> None:
    """Refuse a header (the first length in bytes) or an array frame that is larger than a receiver accepts."""
    if lengths[0] > MAX_HEADER_BYTES:
        raise ProtocolError("oversized_frame", f"the header has {lengths[0]} bytes, at most {MAX_HEADER_BYTES} are accepted")
    for length in lengths[1:]:
        if length > MAX_ARRAY_BYTES:
            raise ProtocolError("oversized_frame", f"an array frame has {length} bytes, at most {MAX_ARRAY_BYTES} are accepted")


def _parse_header(header: bytes) -> AnyMessage:
    try:
        raw = json.loads(header)
    except (ValueError, RecursionError) as error:
        raise ProtocolError("bad_json", f"the header is not JSON: {error}") from error
    if not isinstance(raw, dict):
        raise ProtocolError("bad_json", f"the header must be a JSON object, got {type(raw).__name__}")
    version = raw.get("version")
    if type(version) is not int or version != PROTOCOL_VERSION:  # JSON's true and 1.0 equal 1 in Python
        given = str(version)[:20] if isinstance(version, (int, float, str)) else type(version).__name__
        raise ProtocolError(
            "unknown_version",
            f"protocol version {given} is not supported, only {PROTOCOL_VERSION}; use the same version of vaestar on both sides",
        )
    try:
        return ANY_MESSAGE.validate_json(header, strict=True)
    except ValidationError as error:
        raise ProtocolError("bad_message", explain(error)) from error


def _array(spec: ArraySpec, frame: bytes) -> np.ndarray:
    if len(frame) != spec.nbytes:
        raise ProtocolError(
            "wrong_byte_count",
            f"array '{spec.name}' of shape {spec.shape}, {spec.dtype}, needs {spec.nbytes} bytes, {len(frame)} were received",
        )
    try:
        return np.frombuffer(frame, dtype=spec.dtype).reshape(spec.shape)
    except ValueError as error:  # an empty array whose other dimensions overflow
        raise ProtocolError("bad_arrays", f"array '{spec.name}' cannot have shape {spec.shape}: {error}") from error
