"""What a file of a watched folder holds, judged by its content: a whole scan, part of one, or something else."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from instrument_adapters.errors import AdapterError, NoImageError
from instrument_adapters.formats.hdf5_guard import parse_guarded
from instrument_adapters.formats.igor import IbwHeader, check_header, parse_ibw
from instrument_adapters.formats.source import read_bytes
from instrument_adapters.protocol.codec import explain, scan_packet
from instrument_adapters.protocol.messages import Heartbeat
from instrument_adapters.scan import Scan

# So long a run of zeros in measured numbers, or in a text, is a hole that is still to be filled, or was never measured.
_ZEROS, _WORDS = bytes(4096), bytes(4)
_FOOTER = b"MFP3D"  # the instrument's own files end so, behind their thumbnails (measured); other programs leave this away
_CURVES = b"IsImage:0"
_MESSAGE = Heartbeat(id="judged", sent_at=datetime(2000, 1, 1, tzinfo=UTC))


@dataclass(frozen=True)
class Judged:
    """What one look at a file has shown.

    Parameters
    ----------
    digest
        Of all bytes; "" where they could not be read.
    flaw
        Why this is no scan (yet); "" if it is a whole one.
    curves
        It is sound and holds no image.
    doubtful
        It is whole as far as its content can say, but has a hole or an unusual end.
    scan_id, essence
        Name of the scan, and the digest of the part of the file that is read.
    recorded_at
        When the frame was finished, by the instrument's clock; None where the file does not say.
    """

    digest: str
    flaw: str = ""
    curves: bool = False
    doubtful: bool = False
    scan_id: str = ""
    essence: str = ""
    recorded_at: datetime | None = None


def judge(path: Path, zone: tzinfo, known: Judged | None = None) -> Judged:
    """What `path` holds now; `known`, where its bytes are those that were judged before."""
    try:
        raw = read_bytes(path)
    except AdapterError as error:
        return Judged("", flaw=str(error))
    digest = hashlib.sha256(raw).hexdigest()
    if known is not None and known.digest == digest:
        return known
    try:
        scan, end, doubtful = _parse(raw, path, zone)
        scan_packet(scan, _MESSAGE)  # refuses what the wire cannot carry, so that it never comes to that
    except NoImageError as error:
        return Judged(digest, flaw=str(error), curves=True)
    except AdapterError as error:
        return Judged(digest, flaw=str(error))
    except ValueError as error:
        return Judged(digest, flaw=f"{path} cannot be sent to an agent: {explain(error)}")
    essence = hashlib.sha256(raw[:end]).hexdigest()
    return Judged(digest, "", doubtful=doubtful, scan_id=scan.scan_id, essence=essence, recorded_at=scan.finished_at)


def load(path: Path, zone: tzinfo, judged: Judged) -> Scan | None:
    """The scan that was judged; None if the file has changed since.

    Raises
    ------
    AdapterError
        If the file cannot be read any more.
    """
    raw = read_bytes(path)
    return _parse(raw, path, zone)[0] if hashlib.sha256(raw).hexdigest() == judged.digest else None


def _parse(raw: bytes, path: Path, zone: tzinfo) -> tuple[Scan, int, bool]:
    """The scan, where it ends in the file, and whether there is something odd about the file."""
    if path.suffix.lower() != ".ibw":
        return parse_guarded(raw, path, zone), len(raw), True  # HDF5 says nothing of holes in it
    header = check_header(raw, path)
    trailer = raw[header.end :].rstrip(b"\0 \r\n")
    if _CURVES in trailer[-4096:]:
        raise NoImageError(f"{path} holds curves by its own word (IsImage:0)")
    odd = _has_hole(raw, header) or (len(raw) > header.end and not trailer.endswith(_FOOTER))
    return parse_ibw(raw, path, zone), header.end, odd


def _has_hole(raw: bytes, header: IbwHeader) -> bool:
    """Whether there are zeros where a copying program may still have to put something.

    The size of a file can be there before its content. Note and labels stand behind the numbers; they are the last to come.
    """
    note = raw[header.note_at : header.note_at + header.note_size]
    labels = raw[header.labels_at + 32 : header.labels_at + header.labels_size]
    last = raw[header.data_end - 64 : header.data_end]
    unlabelled = header.labels_size > 32 and not labels.strip(b"\0")
    return unlabelled or _WORDS in note or _ZEROS in raw[: header.data_end] or last == bytes(64)
