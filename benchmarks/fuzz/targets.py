"""Fuzz targets: how inputs are generated, which code receives them, and which errors are valid answers."""

import json
import os
import random
import shutil
import struct
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC
from pathlib import Path

import numpy as np

from benchmarks.fuzz import goldens
from benchmarks.fuzz.mutations import TEXTS, json_text, mutated_bytes, mutated_json, mutated_text, some_number
from instrument_adapters.command_line.toml_settings import SettingsError, load_settings
from instrument_adapters.errors import AdapterError, InstrumentFaultError, ProtocolError, ScanDataError, ScanFileError
from instrument_adapters.folder.file_content import inspect_file
from instrument_adapters.folder.inbox import parse_results
from instrument_adapters.folder.spreadsheet import ResultFileError
from instrument_adapters.formats.hdf5_heap import heaps_are_sound
from instrument_adapters.formats.igor import parse_ibw
from instrument_adapters.formats.igor_loops import parse_loop
from instrument_adapters.formats.instrument_note import frame_from_note, parse_note, times_from_note
from instrument_adapters.formats.nsid import parse_nsid
from instrument_adapters.loop_analysis import loop_parameters
from instrument_adapters.mfp3d.command import MFP3DFile
from instrument_adapters.protocol import codec
from instrument_adapters.protocol.curve_keys import KeyFileError, load_pair
from instrument_adapters.spool.journal import SpoolError
from instrument_adapters.spool.spool import Spool

Random = random.Random
Input = Sequence[bytes]
_HERE = Path("fuzzed.ibw")


class Target(ABC):
    """Code that receives bytes from outside.

    Attributes
    ----------
    name
        Name of the target.
    share
        Share of all inputs, according to the cost of one.
    answers
        Types of errors that are valid answers; any other is a failure.
    library_may_hang
        Whether the underlying library is known to loop or to be slow, so that the product calls it in a process of its own with a
        deadline.
    peak_mb
        Largest increase of the peak memory of the process by one input, in MiB.
    """

    name: str
    share: float
    answers: tuple[type[Exception], ...] = (AdapterError,)
    library_may_hang = False
    peak_mb = 64.0

    @abstractmethod
    def make(self, rng: Random) -> Input:
        """Generate a random input."""

    @abstractmethod
    def take(self, given: Input) -> str:
        """Pass an input to the product; returns "accepted", or how it was refused if that is not an error."""

    def renew(self) -> None:  # noqa: B027 - most have nothing to renew
        """Discard state that grows by design, such as a history."""

    def close(self) -> None:  # noqa: B027 - most have nothing to remove
        """Remove created files."""


class _InFolder(Target):
    """A target that needs files; they are kept in memory if the system supports it."""

    def __init__(self) -> None:
        shm = Path("/dev/shm")
        self.folder = Path(tempfile.mkdtemp(prefix="vaestar-fuzz-", dir=shm if os.access(shm, os.W_OK) else None))

    def close(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class Codec(Target):
    """Wire frames; an accepted message must be unchanged after encoding and decoding it again."""

    name, share, answers = "codec", 0.40, (ProtocolError,)

    def __init__(self) -> None:
        self.golden = goldens.wire()

    def make(self, rng: Random) -> Input:
        return mutated_frames(self.golden, rng)

    def take(self, given: Input) -> str:
        codec.message_id(given)
        packet = codec.decode(given)
        again = codec.decode(codec.encode(packet))
        if again.message != packet.message:
            raise AssertionError("encoding and decoding the message changes it")
        if packet.message.type == "scan":
            codec.scan_from_packet(packet)
        return f"accepted {packet.message.type}"


class Note(Target):
    """Instrument note, and the frame and times derived from it."""

    name, share, answers = "note", 0.10, (ScanFileError,)

    def __init__(self) -> None:
        self.golden = goldens.note()

    def make(self, rng: Random) -> Input:
        text = mutated_text(self.golden, rng).encode("utf-8", "surrogatepass").replace(b"\n", rng.choice((b"\r", b"\r\n")))
        return [mutated_bytes(text, rng) if rng.random() < 0.3 else text]

    def take(self, given: Input) -> str:
        note = parse_note(given[0])
        frame = frame_from_note(note, (3, 5), (None, 5e-7), _HERE)
        times_from_note(note, frame.rows, UTC)
        return "accepted"


class Ibw(Target):
    """Igor binary waves: images and curves."""

    name, share, answers = "ibw", 0.08, (ScanFileError, ScanDataError)

    def __init__(self) -> None:
        self.golden = goldens.waves()

    def make(self, rng: Random) -> Input:
        return [mutated_wave(self.golden, rng)]

    def take(self, given: Input) -> str:
        try:
            parse_loop(given[0], _HERE)
        except ScanFileError:
            parse_ibw(given[0], _HERE)
            return "accepted image"
        return "accepted loop"


class Folder(_InFolder):
    """Files of a watched folder, as classified by `inspect_file`."""

    name, share, answers = "folder", 0.01, ()

    def __init__(self) -> None:
        super().__init__()
        self.golden = goldens.waves()

    def make(self, rng: Random) -> Input:
        return [mutated_wave(self.golden, rng)]

    def take(self, given: Input) -> str:
        path = self.folder / "fuzzed.ibw"
        path.write_bytes(given[0])
        found = inspect_file(path, UTC)
        return "curves" if found.is_curves else "refused" if found.problem else "doubted" if found.doubtful else "accepted"


class Nsid(Target):
    """NSID files."""

    name, share, answers, library_may_hang = "nsid", 0.02, (ScanFileError, ScanDataError), True
    peak_mb = 4096.0  # limit of the product's own process for it: HDF5 allocates whatever length a damaged string claims

    def __init__(self) -> None:
        self.golden = goldens.nsid()

    def make(self, rng: Random) -> Input:
        return [mutated_bytes(rng.choice(self.golden), rng, self.golden)]

    def take(self, given: Input) -> str:
        heaps_are_sound(given[0])
        parse_nsid(given[0], Path("fuzzed.h5"))
        return "accepted"


class Journal(_InFolder):
    """Journal of a client with its arrays."""

    name, share, answers = "spool", 0.05, (SpoolError,)

    def __init__(self) -> None:
        super().__init__()
        self.golden, self.arrays = goldens.journal(self.folder)

    def make(self, rng: Random) -> Input:
        lines = list(self.golden)
        for _ in range(rng.choice((1, 1, 2))):
            at = rng.randrange(len(lines))
            known = self.golden[at]
            lines[at] = json_text(mutated_json(json.loads(known), rng), rng) if rng.random() < 0.7 else mutated_bytes(known, rng)
        if rng.random() < 0.3:
            rng.shuffle(lines)
        text = b"\n".join(lines) + rng.choice((b"\n", b"", b"\x00\x00\n"))
        return [text, mutated_bytes(self.arrays, rng) if rng.random() < 0.2 else self.arrays]

    def take(self, given: Input) -> str:
        (self.folder / "journal.jsonl").write_bytes(given[0])
        for name in ("00000000.raw", "00000001.raw"):
            (self.folder / name).write_bytes(given[1])
        with Spool(self.folder):
            return "accepted"


class Results(Target):
    """Results in an inbox, as CSV and JSON."""

    name, share, answers = "results", 0.06, (ResultFileError,)

    def __init__(self) -> None:
        self.table, self.page = goldens.results()

    def make(self, rng: Random) -> Input:
        if rng.random() < 0.5:
            return [b".json", json_text(mutated_json(self.page, rng), rng)]
        text = mutated_text(self.table, rng).encode("utf-8", "surrogatepass")
        return [b".csv", mutated_bytes(text, rng) if rng.random() < 0.3 else text]

    def take(self, given: Input) -> str:
        return f"accepted {min(2, len(parse_results(given[1], Path('/nowhere') / f'fuzzed{given[0].decode()}')[0]))}"


class Loops(Target):
    """Curves that are analysed as hysteresis loops."""

    name, share, answers = "loops", 0.03, (InstrumentFaultError,)

    def __init__(self) -> None:
        self.bias, self.response = goldens.loop()

    def make(self, rng: Random) -> Input:
        both = [a.tobytes() for a in (self.bias, self.response)]
        at = rng.randrange(2)
        both[at] = mutated_bytes(both[at], rng)
        return both

    def take(self, given: Input) -> str:
        bias, response = (np.frombuffer(raw[: len(raw) // 8 * 8], "<f8") for raw in given)
        with np.errstate(all="ignore"):
            numbers = loop_parameters(bias, response)
        return "accepted" if np.isfinite(list(numbers.values())).all() else "accepted, not finite"


class Keys(_InFolder):
    """Key files."""

    name, share, answers = "keys", 0.02, (KeyFileError,)

    def __init__(self) -> None:
        super().__init__()
        self.golden = goldens.key()

    def make(self, rng: Random) -> Input:
        text = mutated_text(self.golden, rng).encode("utf-8", "surrogatepass")
        return [mutated_bytes(text, rng) if rng.random() < 0.5 else text]

    def take(self, given: Input) -> str:
        path = self.folder / "fuzzed.key_secret"
        path.write_bytes(given[0])
        path.chmod(0o600)
        load_pair(path)
        return "accepted"


class Settings(_InFolder):
    """Settings file of the MFP-3D adapter (TOML)."""

    name, share, answers = "settings", 0.03, (SettingsError,)

    def __init__(self) -> None:
        super().__init__()
        self.golden = goldens.settings()

    def make(self, rng: Random) -> Input:
        text = mutated_text(self.golden, rng).encode("utf-8", "surrogatepass")
        return [mutated_bytes(text, rng) if rng.random() < 0.2 else text]

    def take(self, given: Input) -> str:
        path = self.folder / "fuzzed.toml"
        path.write_bytes(given[0])
        load_settings(path, MFP3DFile)
        return "accepted"


def mutated_frames(golden: Mapping[str, Input], rng: Random) -> Input:
    """Frames of one golden message, with changes of its fields, its bytes, or the number and sizes of its frames."""
    frames = list(golden[rng.choice(_names(golden))])
    how = rng.random()
    if how < 0.6:
        frames[0] = json_text(mutated_json(json.loads(frames[0]), rng), rng)
    elif how < 0.8:
        frames[0] = mutated_bytes(frames[0], rng, [f[0] for f in golden.values()])
    if how > 0.7 or rng.random() < 0.1:
        _change_frames(frames, golden, rng)
    return frames


def _change_frames(frames: list[bytes], golden: Mapping[str, Input], rng: Random) -> None:
    kind, at = rng.randrange(7), rng.randrange(len(frames))
    if kind == 0:
        frames.append(rng.choice((b"", bytes(48), rng.randbytes(rng.randrange(200)))))
    elif kind == 1:
        del frames[at]
    elif kind == 2:
        frames[at] = mutated_bytes(frames[at], rng)
    elif kind == 3:
        frames.reverse()
    elif kind == 4:
        frames[1:] = golden[rng.choice(_names(golden))][1:]
    elif kind == 5:
        frames[at:at] = [frames[at]] * rng.choice((1, 20))
    else:
        frames[at] = frames[at] + bytes(rng.choice((1, 4, 100_000)))


_NAMES: dict[int, list[str]] = {}


def _names(golden: Mapping[str, Input]) -> list[str]:
    return _NAMES.setdefault(id(golden), list(golden))


def mutated_wave(golden: Sequence[bytes], rng: Random) -> bytes:
    """A wave with changes of header fields or of bytes; in two thirds of the cases, the checksum is corrected."""
    raw = bytearray(rng.choice(golden))
    for _ in range(rng.choice((1, 1, 2, 3))):
        if rng.random() < 0.6:
            at, form = rng.choice(goldens.WAVE_FIELDS)
            number = some_number(rng) if rng.random() < 0.5 else rng.randrange(-3, 1200)
            if form in "hi":
                size = struct.calcsize(form)
                raw[at : at + size] = (number % (1 << 8 * size)).to_bytes(size, "little")
            else:
                struct.pack_into("<d", raw, at, float(rng.choice((number, "nan", "inf", 1e-7))))
        else:
            tail = mutated_bytes(bytes(raw[384:]), rng, golden)
            raw[384:] = tail
    if rng.random() < 0.2:
        raw[:] = mutated_bytes(bytes(raw), rng, golden)
    if rng.random() < 0.66 and len(raw) >= 384:
        raw[2:4] = bytes(2)
        words = sum(struct.unpack_from("<192h", raw))
        struct.pack_into("<H", raw, 2, -words & 0xFFFF)
    return bytes(raw)


def words(rng: Random) -> str:
    """A random text."""
    return rng.choice(TEXTS)


ADAPTER_SIDE: tuple[Callable[[], Target], ...] = (Codec, Note, Ibw, Folder, Nsid, Journal, Results, Loops, Keys, Settings)
