"""An emergency stop outlives the agent: one that comes back on an older copy of its run, or on another run, learns of it."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.schema import event_kinds as kinds
from agent.service.service import Service
from instrument_adapters.client import ClientTimings, run_client
from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.protocol import messages as wire
from tests.system.bench import LONGEST_S, events, recorded, serving

SOON = ClientTimings(repeat_s=0.1, repeat_max_s=0.2, heartbeat_s=0.05)


class Scanning:
    """An instrument whose scans end with a halt only; it counts them."""

    instrument_id, model, limits = "afm-1", "none", wire.Limits()

    def __init__(self) -> None:
        self.halted, self.scans = threading.Event(), 0

    def scan(self) -> None:
        self.scans += 1
        self.halted.wait()
        raise InstrumentFaultError("halted")

    def measure(self, _: object) -> None:
        raise AssertionError("nothing was recommended")

    def halt(self) -> None:
        self.halted.set()

    def release(self) -> None:
        self.halted.clear()

    def close(self) -> None:
        self.halted.set()


@asynccontextmanager
async def connected(address: str, spool: Path, event: str) -> AsyncIterator[tuple[Scanning, asyncio.Event]]:
    """Our client on a spool, and an event that is set when it reports `scan_started`; begins once it has reported `event`."""
    stop, afm, loop = threading.Event(), Scanning(), asyncio.get_running_loop()
    happened = {"scan_started": asyncio.Event(), event: asyncio.Event()}

    def on_event(name: str, _: object) -> None:
        if name in happened:
            loop.call_soon_threadsafe(happened[name].set)

    options = {"spool_dir": spool, "stop": stop, "on_event": on_event, "timings": SOON}
    client = asyncio.create_task(asyncio.to_thread(run_client, afm, address, **options))  # type: ignore[arg-type]
    try:
        async with asyncio.timeout(LONGEST_S):
            await happened[event].wait()
        yield afm, happened["scan_started"]
    finally:
        stop.set()
        await client


async def stop_while_scanning(service: Service, run: Path, address: str, spool: Path) -> None:
    async with connected(address, spool, "scan_started"):
        await service.control.emergency_stop("Ada", "smoke")
        await recorded(run, kinds.COMMAND_ACKNOWLEDGED)


async def run_once(run: Path) -> None:
    async with serving(run):
        pass


@pytest.mark.attack(
    "an agent comes back on a copy of its run made before an emergency stop, or on another run, and resumes without looking",
    promise="An emergency stop holds the instrument until an operator lifts it knowing of it, whichever agent speaks.",
)
@pytest.mark.parametrize("comes_back_on", ["a copy made before the stop", "another run"])
def test_an_agent_that_does_not_know_of_the_stop_learns_of_it_and_only_then_an_operator_lifts_it(
    tmp_path: Path, comes_back_on: str
) -> None:
    run, later, spool = tmp_path / "run", tmp_path / "later", tmp_path / "spool"

    async def scenario() -> None:
        await run_once(run)
        if comes_back_on != "another run":
            shutil.copytree(run, later)
        async with serving(run) as (service, state):
            await stop_while_scanning(service, run, state["bind"], spool)
        async with (
            serving(later) as (service, state),
            connected(state["bind"], spool, "hold_reported") as (afm, scan_started),
        ):
            (given,) = await recorded(later, kinds.COMMAND_GIVEN)
            assert (given.body["command"], given.body["by"]) == ("stop", "policy")
            assert "emergency stop by Ada: smoke (command 1 of run-" in given.body["reason"]
            await recorded(later, kinds.COMMAND_ACKNOWLEDGED)
            assert service.status()["instruments"]["afm-1"]["state"] == "stopped"
            assert afm.scans == 0
            await service.control.resume("Bo", "it was steam")
            async with asyncio.timeout(LONGEST_S):
                await scan_started.wait()
        assert [e.body["command"] for e in events(later, kinds.COMMAND_GIVEN)] == ["stop", "resume"]

    asyncio.run(scenario())


def test_a_stop_that_was_lifted_while_the_instrument_was_away_is_recognised_and_lifted(tmp_path: Path) -> None:
    run, spool = tmp_path / "run", tmp_path / "spool"

    async def scenario() -> None:
        async with serving(run) as (service, state):
            await stop_while_scanning(service, run, state["bind"], spool)
            await service.control.resume("Ada", "")
            async with connected(state["bind"], spool, "scan_started"):
                assert [e.body["command"] for e in events(run, kinds.COMMAND_GIVEN)] == ["stop", "resume"]

    asyncio.run(scenario())
