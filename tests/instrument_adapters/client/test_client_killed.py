"""Clients on one spool, each killed with SIGKILL at a random moment: no result is lost, no point measured twice."""

import random
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

from instrument_adapters.protocol.messages import ResultMessage, ScanMessage

LIVES = 6
POINTS = 12

CLIENT = """
import importlib.util, pathlib, sys, time
address, spool, first_scan, cycles, conftest, diary = sys.argv[1:]
spec = importlib.util.spec_from_file_location("kit", conftest)
kit = importlib.util.module_from_spec(spec)
spec.loader.exec_module(kit)

def on_measure(request):
    with open(diary, "a") as file:
        file.write(request.request_id + "\\n")
    time.sleep(0.03)

instrument = kit.FakeInstrument(first_scan=int(first_scan))
instrument.on_measure = on_measure
kit.run_client(instrument, address, cycles=int(cycles) or None, spool_dir=pathlib.Path(spool), timings=kit.FAST)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_killed_clients_lose_no_result_and_measure_no_point_twice(agent, tmp_path):
    agent.points = lambda _: [(i * 1e-6, 0.0) for i in range(POINTS)]
    diary = tmp_path / "diary.txt"
    rest = [str(Path(__file__).parents[1] / "conftest.py"), str(diary)]
    rng = random.Random(3)

    def command(life, cycles):
        return [sys.executable, "-c", CLIENT, agent.address, str(tmp_path / "spool"), str(1 + 100 * life), str(cycles), *rest]

    for life in range(LIVES):
        heard = len(agent.received)
        with subprocess.Popen(command(life, 0), cwd=Path(__file__).parents[3]) as process:
            while len(agent.received) < heard + 3:
                assert process.poll() is None, "the client ended by itself"
                time.sleep(0.005)
            time.sleep(rng.uniform(0.0, 0.3))
            process.kill()
    subprocess.run(command(LIVES, 1), check=True, timeout=60, cwd=Path(__file__).parents[3], capture_output=True)

    results = defaultdict(set)
    for result in agent.got(ResultMessage):
        results[result.request_id].add((result.status, result.sent_at))
    scans = {s.scan_id for s in agent.got(ScanMessage)}
    assert set(results) == {f"{s}-p{i}" for s in scans for i in range(POINTS)}
    assert all(len(outcomes) == 1 for outcomes in results.values()), "one request has two different results"
    measured = diary.read_text().split()
    assert len(measured) == len(set(measured))
    interrupted = [r for r, outcomes in results.items() if next(iter(outcomes))[0] == "failed"]
    assert len(interrupted) <= LIVES
