"""Short versions of the service's benchmark: real processes, killed and with faults on."""

import importlib.util
from pathlib import Path

import pytest

from benchmarks.service.kills import killed_loop
from benchmarks.service.processes import TINY_SEARCH
from benchmarks.service.random_loops import random_loops
from benchmarks.service.soak import FINE, Week, soak

HERE = (FINE + TINY_SEARCH).replace("workers = 1", "workers = 0")  # no process to start
pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")


@pytest.mark.slow
def test_a_loop_whose_agent_and_client_are_killed_loses_nothing(tmp_path: Path) -> None:
    found = killed_loop(tmp_path / "loop", 3, 2, pixels=64, search=HERE, targets={"agent": 0.5, "adapter": 0.5})
    assert found["alive"], found["faults"]
    assert (found["lost"], found["measured_twice"], found["verify"], found["faults"]) == (0, 0, [], []), found["sentences"]
    assert found["exits"] == {"adapter": 0, "agent": 0}
    assert sum(found["kills"].values()) == 2
    assert found["counts"]["results_acknowledged"] > 0


@pytest.mark.slow
def test_in_a_simulated_hour_with_faults_every_scan_is_accounted_for(tmp_path: Path) -> None:
    found = soak(tmp_path / "soak", 5, Week(days=0.03, fault_rate=0.5), HERE)
    assert not found["stalled"]
    assert (found["lost"], found["verify"], found["undecided"]) == (0, [], []), found["sentences"]
    assert found["exits"]["agent"] == 0
    assert found["accounts"]["scans sent"] == found["accounts"]["events scan_received"] > 0


@pytest.mark.skipif(importlib.util.find_spec("agent.safety.envelope") is None, reason="the agent has no envelope")
def test_no_point_arrives_outside_frame_and_limits(tmp_path: Path) -> None:
    found = random_loops(tmp_path / "random", 1, 3)
    assert found["outside"] == 0, found["sentences"]
