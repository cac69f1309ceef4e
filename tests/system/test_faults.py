"""The simulator as a process, with random faults, at a real service: all that was measured arrives once."""

import asyncio
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from agent.schema import event_kinds as kinds
from agent.schema.decision import Decision
from instrument_adapters.scan import Scan
from simulators.faults.sealed_log import SealedEntry
from tests.support.samples import decision, request
from tests.system.bench import deciding, events, serving

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = (
    "--cycles 3 --pixels 32 --seed 3 --no-latency --fault-rate probe=1 --fault-rate data=1 --fault-rate replayed_message=1 "
    "--fault disconnect_mid_scan@2 --fault lost_ack@3 --fault written_box@2"
)


def three_places(scan: Scan, _: object) -> Decision:
    """Three points of the frame, others after each scan."""
    pixels = [(row, 4 * int(scan.scan_id[-4:])) for row in (5, 15, 25)]
    xy = scan.frame.to_metres(np.array(pixels, dtype=np.float64))
    requests = tuple(
        request(f"d-{scan.scan_id}-{n:03d}", x_m, y_m).model_copy(update={"row": row, "col": col})
        for n, ((row, col), (x_m, y_m)) in enumerate(zip(pixels, xy.tolist(), strict=True))
    )
    return decision(scan.scan_id, requests, frame=scan.frame)


def test_with_faults_on_the_way_every_scan_and_every_result_arrives_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deciding(monkeypatch, three_places)
    run, log = tmp_path / "run", tmp_path / "sealed.jsonl"

    async def scenario() -> tuple[int | None, str]:
        async with serving(run) as (_, state):
            command = ["-m", "simulators", "--connect", state["bind"], *OPTIONS.split(), "--sealed-log", str(log)]
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
            process = await asyncio.create_subprocess_exec(
                sys.executable, *command, cwd=ROOT, env=environment, stderr=asyncio.subprocess.PIPE
            )
            _, said = await process.communicate()
            return process.returncode, said.decode()

    code, said = asyncio.run(scenario())
    assert code == 0, said
    happened = [SealedEntry.model_validate_json(line) for line in log.read_text().splitlines()]
    groups = Counter(entry.group for entry in happened)
    assert min(groups[group] for group in ("transport", "data", "probe", "sample")) >= 1
    assert {"disconnect_mid_scan", "lost_ack", "replayed_message"} <= {entry.fault for entry in happened}
    scans = [e.subject for e in events(run, kinds.SCAN_RECEIVED)]
    assert len(scans) == len(set(scans)) == 3
    results = [e.subject for e in events(run, kinds.RESULT_RECEIVED)]
    assert sorted(results) == sorted(f"d-{scan}-{n:03d}" for scan in scans for n in range(3))
    for word in ("disconnect_mid_scan", "lock_loss", "sealed"):
        assert word not in said, "the log of the simulator is no place for the truth"
