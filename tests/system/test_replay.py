"""Recorded data and the service as two processes that meet on the wire only; the search is replaced by a hand-made decision."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from pathlib import Path

import pytest

from agent.schema import event_kinds as kinds
from agent.service.service import Service
from tests.support.data.recordings import write_films
from tests.system.bench import LONGEST_S, config, deciding, events, recorded, serving

ROOT = Path(__file__).resolve().parents[2]


async def replaying(address: str, data: Path, *more: str) -> Process:
    command = ["-m", "agent", "replay", "mexpsimu:1d3um", "--data", str(data), "--connect", address, *more]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return await asyncio.create_subprocess_exec(sys.executable, *command, stderr=PIPE, env=environment, cwd=ROOT)


async def seen(service: Service) -> int:
    """Lines of the first frame that have been shown, once there are some."""
    async with asyncio.timeout(3 * LONGEST_S):
        while (part := service.partial_frame("replay")) is None:
            await asyncio.sleep(0.01)
    assert part.scan_id == "mexpsimu-1d3um"
    return int(part.recorded.sum())


def test_a_loop_is_closed_on_recorded_data_and_can_be_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deciding(monkeypatch)
    run = tmp_path / "run"

    async def scenario() -> tuple[int, int | None, str]:
        async with serving(run, config()) as (service, state):
            # 24 lines of a second each, in 1.6 s: lines are shown once a second
            process = await replaying(state["bind"], write_films(tmp_path), "--cycles", "2", "--speed", "15")
            shown = await seen(service)
            async with asyncio.timeout(3 * LONGEST_S):
                _, log = await process.communicate()
            assert service.partial_frame("replay") is None
            return shown, process.returncode, log.decode()

    shown, code, log = asyncio.run(scenario())
    assert code == 0, log
    assert 0 < shown < 24
    assert [e.subject for e in events(run, kinds.SCAN_RECEIVED)] == ["mexpsimu-1d3um", "mexpsimu-1d3um-2"]
    first = events(run, kinds.RESULT_RECEIVED)[0].body
    assert first["status"] == "ok", first
    assert "judged" not in first
    assert first["reason"].startswith("recorded ")  # the decision's points lie between the records
    assert set(first["parameters"]) == {"area_auV", "span_au", "mean_au", "switching_down_V", "switching_up_V"}
    assert events(run, kinds.MESSAGE_REFUSED) == []
    assert "ClientReport(cycles=2" in log


def test_ctrl_c_ends_a_replay_in_order_while_it_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deciding(monkeypatch)
    run = tmp_path / "run"

    async def scenario() -> tuple[int | None, str]:
        async with serving(run, config()) as (_, state):
            process = await replaying(state["bind"], write_films(tmp_path), "--speed", "real")
            await recorded(run, kinds.INSTRUMENT_CONNECTED)
            process.send_signal(signal.SIGINT)
            async with asyncio.timeout(LONGEST_S):
                _, log = await process.communicate()
            await recorded(run, kinds.INSTRUMENT_LEFT)
            return process.returncode, log.decode()

    code, log = asyncio.run(scenario())
    assert code == 0, log
    assert "Traceback" not in log
    assert events(run, kinds.SCAN_RECEIVED) == []
