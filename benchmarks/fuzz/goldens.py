"""Valid inputs from which the fuzzer starts; the only files it needs are the golden wire messages."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from instrument_adapters.geometry import Frame
from instrument_adapters.protocol import codec
from instrument_adapters.protocol import curve_keys as keys
from instrument_adapters.protocol.messages import RecommendationMessage, ResultMessage, ScanMessage
from instrument_adapters.scan import Scan
from instrument_adapters.spool.spool import Outgoing, Spool
from simulators.controller.ibw import encode_curves, encode_ibw

WIRE = Path(__file__).resolve().parents[2] / "tests" / "golden" / "wire"
DOCS = WIRE.parents[2] / "docs"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FRAME = Frame(size_fast_m=2e-6, size_slow_m=1e-6, x_offset_m=-3e-6, y_offset_m=4e-6, rows=3, cols=5)
# (offset, format) of fields in both headers: sizes, number of points, type, dimensions, scaling
WAVE_FIELDS: Sequence[tuple[int, str]] = (
    *((0, "h"), (2, "h"), (4, "i"), (8, "i"), (12, "i"), (16, "i"), (36, "i"), (40, "i"), (44, "i"), (48, "i"), (52, "i")),
    *((76, "i"), (80, "h"), (132, "i"), (136, "i"), (140, "i"), (144, "i"), (148, "d"), (156, "d"), (212, "i"), (216, "i")),
)


def wire() -> dict[str, list[bytes]]:
    """Name -> frames of each golden message."""
    frames = {}
    for path in sorted(WIRE.glob("*.json")):
        header = path.read_bytes()
        arrays = json.loads(header)["arrays"]
        frames[path.stem] = [header, *(np.ones(a["shape"], a["dtype"]).tobytes() for a in arrays)]
    return frames


def note() -> str:
    """An instrument note with one key and value per line."""
    lines = {"ScanSize": 2e-6, "FastScanSize": 2e-6, "SlowScanSize": 1e-6, "XOffset": -3e-6, "YOffset": 4e-6, "ScanAngle": 30}
    lines |= {"FastRatio": 1, "SlowRatio": 0.5, "ScanRate": 0.4, "Seconds": 3806987446.857, "NapMode": 0, "ScanDown": 1}
    words = {"Channel1DataType": "Height", "UserIn0Unit": "V", "Flatten Offsets 0": "1,2,3", "Remark": "5 °"}
    return "\n".join(f"{key}: {value}" for key, value in {**lines, **words}.items())


def scan() -> Scan:
    """A small scan with two channels."""
    image = np.arange(15, dtype=np.float32).reshape(3, 5)
    channels = {"AmplitudeRetrace": image, "PhaseRetrace": 2 * image}
    entries = dict(line.split(": ", 1) for line in note().split("\n"))
    return Scan(channels, {"AmplitudeRetrace": "m", "PhaseRetrace": "deg"}, FRAME, "s1", finished_at=NOW, metadata=entries)


def waves() -> list[bytes]:
    """Igor binary waves: an image, an image with the peculiarities of a real file and appended thumbnails, and a loop."""
    bias, response = loop()
    curves = {"Bias": bias, "Amp": np.abs(response), "Phase": np.where(response < 0, 180.0, 0.0)}
    return [
        encode_ibw(scan()),
        encode_ibw(scan(), traps=True) + b"\x10" * 99 + b"IsImage:1; 0422 MFP3D",
        encode_curves(curves, {}, NOW),
    ]


def nsid() -> list[bytes]:
    """NSID files: small images, uncompressed and compressed, with strings of variable length."""
    files = []
    for options in ({}, {"chunks": (5, 3), "compression": "gzip"}):
        buffer = BytesIO()
        with h5py.File(buffer, "w") as file:
            for number, quantity in enumerate(("AmplitudeRetrace", "PhaseRetrace")):
                group = file.create_group(f"Measurement_000/Channel_{number}/Channel_{number}")
                data = group.create_dataset(f"Channel_{number}", data=np.arange(15, dtype=np.float32).reshape(5, 3), **options)
                data.attrs.update({"quantity": quantity, "units": "m", "DIMENSION_LABELS": ["x", "y"]})
                group["x"], group["y"] = np.linspace(0, 2e-6, 5), np.linspace(0, 1e-6, 3)
                group.create_group("original_metadata").attrs.update(dict(line.split(": ", 1) for line in note().split("\n")))
        files.append(buffer.getvalue())
    return files


def loop() -> tuple[np.ndarray, np.ndarray]:
    """(bias in volts, response) of one cycle."""
    phase = np.arange(64) / 64
    bias = 8.0 * np.where(phase < 0.25, 4 * phase, np.where(phase < 0.75, 2 - 4 * phase, 4 * phase - 4))
    up = (phase <= 0.25) | (phase > 0.75)
    return bias, 40.0 * np.tanh(bias - np.where(up, 3.0, -2.0))


def journal(folder: Path) -> tuple[list[bytes], bytes]:
    """Journal lines and array bytes of a client that was killed during a recommendation."""
    messages = {name: codec.decode(frames).message for name, frames in wire().items()}
    frames = wire()
    scan_, result, recommendation = messages["scan"], messages["result"], messages["recommendation"]
    assert isinstance(scan_, ScanMessage)
    assert isinstance(result, ResultMessage)
    assert isinstance(recommendation, RecommendationMessage)
    with Spool(folder) as spool:
        spool.send(Outgoing(scan_, frames["scan"]))
        spool.record_answer(scan_.id, run_id="run-1", refused=False)
        for request in spool.accept(recommendation).requests:
            spool.begin(request, scan_.scan_id)
        spool.send(Outgoing(result, frames["result"]))
    return (folder / "journal.jsonl").read_bytes().rstrip(b"\n").split(b"\n"), b"".join(frames["scan"][1:])


def results() -> tuple[str, Any]:
    """A completed results table as CSV text, and results as JSON."""
    table = (
        "request_id,order,cluster,rank,x_um,y_um,status,reason,measured_at,coercive_V,area_pmV\n"
        "d-1-000,1,0,0,1.5,-2.25,ok,,2026-03-01T14:05:00+01:00,2.5,1e3\n"
        "d-1-001,2,1,0,1.75,-2,skipped,no time,,,\n"
        "d-1-002,3,1,1,1.8,-2,,,,,\n"
    )
    rows = [
        {"request_id": "d-1-000", "status": "ok", "x_um": 1.5, "y_um": -2.25, "parameters": {"coercive_V": 2.5}, "width_V": 1},
        {"request_id": "d-1-001", "status": "failed", "reason": "no contact", "loop_file": "loop.csv"},
    ]
    return table, {"results": rows}


def key() -> str:
    """Text of a secret key file; the key is not in use anywhere."""
    public, secret = ")jM%K@1Jd2S(B(n2bLcx=pKQ(&k)(rQ<Fx!/}QmC", "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"
    return keys._TEXT.format(public=public) + keys._SECRET_LINE.format(secret)


def settings() -> str:
    """Settings file of the MFP-3D adapter."""
    return (
        (Path(__file__).resolve().parents[2] / "docs" / "mfp3d.md")
        .read_text(encoding="utf-8")
        .split("```toml\n")[1]
        .split("```")[0]
    )


def config() -> str:
    """Configuration file of the agent with all defaults."""
    return _toml_of("configuration.md")


def _toml_of(page: str) -> str:
    return (DOCS / page).read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]


def first_cycle(dispatch: Any, instrument_id: str) -> None:
    """Dispatch a hello, a scan, a decision on it and a result, so that later messages reach a run in progress."""
    from tests.support.samples import ack, decision, hello, request, result, sample_scan, scan_message

    scan_ = sample_scan("s1")
    dispatch.on_packet(instrument_id, hello(instrument_id))
    dispatch.on_packet(instrument_id, scan_message(scan_))
    requests = (request("r-1"), request("r-2", 3e-7))
    entry = dispatch.ledger.scans[instrument_id, "s1"]
    dispatch.decision_log.decided(entry, decision("s1", requests), 1.0)
    dispatch.recommendation(entry)
    dispatch.on_packet(instrument_id, ack("rec-d-s1"))
    dispatch.on_packet(instrument_id, result("r-2"))
