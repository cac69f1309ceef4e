"""Reads the bytes of a scan file and derives the id of its scan."""

import hashlib
import re
import stat
from pathlib import Path

from instrument_adapters.errors import ScanFileError

FILE_BYTES_MAX = 1 << 30  # the largest scan in float64
DECODED_BYTES_MAX = 512 << 20  # of all channels in float32, as on the wire: eight channels of 4096 x 4096


def read_bytes(path: Path, most_bytes: int = FILE_BYTES_MAX) -> bytes:
    """Complete content of `path`.

    Raises
    ------
    ScanFileError
        If there is no such file, it is not a regular file, it cannot be read, or it is larger than `most_bytes`.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ScanFileError(f"{path} is a folder or a device, not a file; give one scan file")
        if status.st_size > most_bytes:
            raise ScanFileError(f"{path} has {status.st_size} bytes, at most {most_bytes} are read; is this a scan file?")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ScanFileError(f"there is no file {path}; give the path of a scan saved by the instrument") from error
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ScanFileError(f"{path} cannot be read ({reason}); check the permissions, or copy the file first") from error


def scan_id(path: Path, raw: bytes) -> str:
    """Id of the scan: the file name in the characters of the wire, and 12 hexadecimal digits of the SHA-256 of its content.

    The same file gives the same id everywhere, and different files of the same name (instruments restart their counters) give
    different ids.
    """
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", path.stem)
    stem = re.sub(r"^[^A-Za-z0-9]+", "", stem)[:80] or "scan"
    return f"{stem}-{hashlib.sha256(raw).hexdigest()[:12]}"
