"""A real Dask scheduler with two worker processes, on loopback."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from pathlib import Path

import dask
import numpy as np
import pytest
from distributed import LocalCluster
from typer.testing import CliRunner

import agent.workers.dask_cluster
from agent.cli.app import app
from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs
from agent.errors import WorkersError
from agent.schema.decision import Decision
from agent.search.task_runner import TaskRunner
from agent.workers.base import Workers
from agent.workers.factory import workers_for
from tests.agent.search.test_search import QUICK, scan_of
from tests.support.data.images import two_textures
from tests.support.workers_contract import (
    WorkersContract,
    cut,
    die_once,
    overwrite,
    pid_in,
    pool_threads,
    until_stopped,
    users_own,
    wait_for,
)
from tests.system.commands import quick_config
from tests.system.test_analyze import written

OWNER = """
import sys
from pathlib import Path
from agent.workers.factory import workers_for
from tests.support.workers_contract import until_stopped

with workers_for(0, None, sys.argv[1]) as workers:
    workers.submit(until_stopped, Path(sys.argv[2])).result()
"""
ANY_PORT = "127.0.0.1:0"


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    # Dask does not repeat a task whose worker died: the agent counts deaths itself.
    settings = {"distributed.scheduler.allowed-failures": 0}
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=ANY_PORT) as cluster,
    ):
        yield cluster


class TestDask(WorkersContract):
    @pytest.fixture
    def workers(self, cluster: LocalCluster, tmp_path: Path) -> Iterator[Workers]:
        wait_for(lambda: len(cluster.scheduler.workers) == 2)  # a worker killed by a test is replaced
        with workers_for(0, tmp_path, cluster.scheduler_address) as workers:
            yield workers

    def test_a_task_computes_on_one_thread(self, workers: Workers) -> None:
        assert workers.submit(pool_threads).result(timeout=30) == {1}

    def test_a_shared_array_cannot_be_changed(self, workers: Workers) -> None:
        workers.begin()
        with pytest.raises(ValueError, match="read-only"):
            workers.submit(overwrite, workers.share(np.zeros(10))).result(timeout=30)

    def test_a_worker_killed_in_the_middle_of_a_task_is_reported_and_shared_arrays_outlive_it(
        self, workers: Workers, tmp_path: Path
    ) -> None:
        workers.begin()
        shared = workers.share(np.arange(5.0))
        assert workers.submit(cut, shared, [4]).result(timeout=30)[0] == 4
        future = workers.submit(until_stopped, tmp_path / "task")
        os.kill(pid_in(tmp_path / "task"), signal.SIGKILL)
        with pytest.raises(BrokenExecutor, match="a Dask worker was lost"):
            future.result(timeout=30)
        workers.restart()
        assert workers.submit(cut, shared, [4]).result(timeout=30)[0] == 4

    def test_a_stage_survives_a_dead_worker(self, workers: Workers, tmp_path: Path) -> None:
        workers.begin()
        runner = TaskRunner(workers, lambda *_: None, lambda: False)
        assert runner.run("training", die_once, [(tmp_path / "trace",)]) == ["done"]

    def test_a_running_task_ends_when_its_client_restarts(self, workers: Workers, tmp_path: Path) -> None:
        workers.begin()
        future = workers.submit(until_stopped, tmp_path / "task")
        wait_for((tmp_path / "task").exists)
        workers.restart()
        assert isinstance(future.exception(timeout=0), BrokenExecutor)
        wait_for((tmp_path / "task.ended").exists, seconds=5)

    def test_a_running_task_ends_when_its_client_is_killed(self, cluster: LocalCluster, tmp_path: Path) -> None:
        (tmp_path / "owner.py").write_text(OWNER)
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        command = [sys.executable, tmp_path / "owner.py", cluster.scheduler_address, tmp_path / "task"]
        with subprocess.Popen(command, env=environment) as owner:
            try:
                pid_in(tmp_path / "task")
            finally:
                owner.kill()
        wait_for((tmp_path / "task.ended").exists, seconds=10)

    def test_a_worker_finds_the_users_modules(self, workers: Workers, tmp_path: Path) -> None:
        (tmp_path / "my_own_module_of_the_lab.py").write_text("ANSWER = 42")
        assert workers.submit(users_own).result(timeout=30) == 42

    def test_a_worker_of_other_versions_is_refused(
        self, workers: Workers, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(agent.workers.dask_cluster, "versions", lambda: {"numpy": "0.9"})
        with pytest.raises(WorkersError, match=r"worker tcp://\S+ has numpy \S+, not 0.9; install the same versions"):
            workers_for(0, None, cluster.scheduler_address)


def test_a_worker_of_several_threads_is_refused_and_a_scheduler_without_workers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent.workers.dask_cluster, "_CONNECT_S", 0.5)
    with LocalCluster(n_workers=0, threads_per_worker=2, processes=True, host="127.0.0.1", dashboard_address=ANY_PORT) as cluster:
        with pytest.raises(WorkersError, match="has no worker; start one with"):
            workers_for(0, None, cluster.scheduler_address)
        cluster.scale(1)
        monkeypatch.undo()
        with pytest.raises(WorkersError, match="runs 2 tasks at the same time in one process; start it with --nthreads 1"):
            workers_for(0, None, cluster.scheduler_address)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("127.0.0.1:8786", "is not the address of a Dask scheduler"),
        ("tcp://[127.0.0.1:8786", "is not the address of a Dask scheduler"),
        ("tcp://127.0.0.1:x", "is not the address of a Dask scheduler"),
        ("tcp://127.0.0.1:1", "no Dask scheduler answers at tcp://127.0.0.1:1 .*refused.*; start one"),
    ],
)
def test_an_address_without_a_scheduler_is_refused(address: str, says: str) -> None:
    with pytest.raises(WorkersError, match=says):
        workers_for(0, None, address)


def test_without_the_scheduler_tasks_fail_and_no_more_are_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(agent.workers.dask_cluster, "_CONNECT_S", 0.5)
    with LocalCluster(n_workers=1, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=ANY_PORT) as cluster:
        workers = workers_for(0, None, cluster.scheduler_address)
        future = workers.submit(until_stopped, tmp_path / "task")
        wait_for((tmp_path / "task").exists)
    with workers:
        with pytest.raises(BrokenExecutor):
            future.result(timeout=30)
        with pytest.raises(WorkersError, match="no Dask scheduler answers"):
            workers.restart()
        with pytest.raises(WorkersError, match="no Dask scheduler answers"):
            workers.submit(until_stopped, tmp_path / "task")


def test_the_same_scan_gives_the_same_decision_here_in_processes_and_on_dask(cluster: LocalCluster) -> None:
    search = QUICK.search.model_copy(update={"windows_px": (5,), "invariances": ("rt",)})
    decisions: list[Decision] = []
    for count, address in ((0, None), (2, None), (0, cluster.scheduler_address)):
        config = QUICK.model_copy(update={"search": search.model_copy(update={"workers": count})}).with_search(dask=address)
        with workers_for(count, None, address) as workers:
            decisions.append(Agent(config, workers).decide(DecisionInputs(scan_of(two_textures(96)))))
    first, *others = decisions
    assert first.record.requests
    for other in others:
        assert other.record == first.record.model_copy(update={"config": other.record.config})
        assert other.arrays.keys() == first.arrays.keys()
        assert all(other.arrays[name].tobytes() == array.tobytes() for name, array in first.arrays.items())


def test_the_command_trains_on_dask_and_refuses_an_address_without_a_scheduler(cluster: LocalCluster, tmp_path: Path) -> None:
    scan, config = written(tmp_path / "scan.ibw", two_textures(96)), quick_config(tmp_path)
    command = ["analyze", str(scan), "--out", str(tmp_path / "out"), "--config", str(config), "--json", "--dask"]
    done = CliRunner().invoke(app, [*command, cluster.scheduler_address])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["config"]["search"]["dask"] == cluster.scheduler_address
    refused = CliRunner().invoke(app, [*command, "tcp://127.0.0.1:1"])
    assert refused.exit_code == 2
    assert "no Dask scheduler answers" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
