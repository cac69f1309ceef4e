"""Decides from a file's content whether it holds a complete scan, an incomplete one, or something else."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path

from instrument_adapters.errors import AdapterError, NoImageError, ProtocolError
from instrument_adapters.formats.hdf5_guard import parse_guarded
from instrument_adapters.formats.igor import IbwHeader, check_header, parse_ibw, read_wave
from instrument_adapters.formats.source import read_bytes
from instrument_adapters.protocol.codec import check_sendable, explain
from instrument_adapters.scan import Scan

# A run of zeros this long, in the measured numbers or in a text, is a gap that is still to be written or was never measured.
_HOLE, _TEXT_HOLE = bytes(4096), bytes(4)
_FOOTER = b"MFP3D"  # the end of the instrument's own files, after their thumbnails (measured); other programs do not write it
_CURVES = b"IsImage:0"


@dataclass(frozen=True)
class Inspection:
    """Outcome of inspecting a file once.

    Parameters
    ----------
    digest
        SHA-256 of all bytes; "" if they could not be read.
    problem
        Why the file is not (yet) a scan; "" if it is a complete one.
    is_curves
        Whether the file is valid but holds curves instead of an image.
    doubtful
        Whether the file is complete as far as its content tells, but has a gap of zeros or an unusual end.
    scan_id, content_digest
        Id of the scan, and SHA-256 of the part of the file that holds it.
    recorded_at
        End of the frame by the instrument's clock; None if the file does not state it.
    """

    digest: str
    problem: str = ""
    is_curves: bool = False
    doubtful: bool = False
    scan_id: str = ""
    content_digest: str = ""
    recorded_at: datetime | None = None


def inspect_file(path: Path, zone: tzinfo, previous: Inspection | None = None) -> Inspection:
    """Outcome of inspecting `path` now; `previous` itself if the bytes have not changed since."""
    try:
        raw = _read(path)
    except AdapterError as error:
        return Inspection("", problem=str(error), is_curves=isinstance(error, NoImageError))
    digest = hashlib.sha256(raw).hexdigest()
    if previous is not None and previous.digest == digest:
        return previous
    try:
        scan, end, doubtful = _parse(raw, path, zone)
        check_sendable(scan)  # raises if the wire cannot carry the scan, so that the client never meets such a scan
    except NoImageError as error:
        return Inspection(digest, problem=str(error), is_curves=True)
    except ProtocolError as error:
        return Inspection(digest, problem=f"{path} cannot be sent to an agent: {error.reason}")
    except AdapterError as error:
        return Inspection(digest, problem=str(error))
    except ValueError as error:
        return Inspection(digest, problem=f"{path} cannot be sent to an agent: {explain(error)}")
    content_digest = hashlib.sha256(memoryview(raw)[:end]).hexdigest()
    return Inspection(
        digest, "", doubtful=doubtful, scan_id=scan.scan_id, content_digest=content_digest, recorded_at=scan.finished_at
    )


def load(path: Path, zone: tzinfo, inspection: Inspection) -> Scan | None:
    """The scan that was inspected; None if the file has changed since.

    Raises
    ------
    AdapterError
        If the file can no longer be read.
    """
    raw = _read(path)
    return _parse(raw, path, zone)[0] if hashlib.sha256(raw).hexdigest() == inspection.digest else None


def _read(path: Path) -> bytes:
    return read_wave(path) if path.suffix.lower() == ".ibw" else read_bytes(path)


def _parse(raw: bytes, path: Path, zone: tzinfo) -> tuple[Scan, int, bool]:
    """The scan, the offset at which it ends in the file, and whether the file is doubtful."""
    if path.suffix.lower() != ".ibw":
        return parse_guarded(raw, path, zone), len(raw), True  # an HDF5 file does not show whether parts are still missing
    header = check_header(raw, path)
    trailer = raw[header.end :].rstrip(b"\0 \r\n")
    if _CURVES in trailer[-4096:]:
        raise NoImageError(f"{path} is marked as curves (IsImage:0)")
    doubtful = _has_hole(raw, header) or (len(raw) > header.end and not trailer.endswith(_FOOTER))
    return parse_ibw(raw, path, zone), header.end, doubtful


def _has_hole(raw: bytes, header: IbwHeader) -> bool:
    """Whether the file has zeros where a program may still be copying content.

    A file can have its full size before its content. Note and labels follow the numbers, so they are written last.
    """
    note = raw[header.note_at : header.note_at + header.note_size]
    labels = raw[header.labels_at + 32 : header.labels_at + header.labels_size]
    last = raw[header.data_end - 64 : header.data_end]
    unlabelled = header.labels_size > 32 and not labels.strip(b"\0")
    return unlabelled or _TEXT_HOLE in note or raw.find(_HOLE, 0, header.data_end) >= 0 or last == bytes(64)
