"""An HTTP server in a thread of its own, on a scripted run and a fake agent that records its commands."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.history.run_directory import STATE_FILE
from agent.service.supervision import Supervision
from tests.support.asgi import FakeControl
from tests.support.history.runs import record_run


@contextmanager
def http_server(run: Path, control: FakeControl) -> Iterator[str]:
    """Yield the address of the server; the run directory looks like that of a running agent."""
    record_run(run)
    ready, stop = threading.Event(), threading.Event()
    addresses: list[str] = []

    async def main() -> None:
        supervision = Supervision(run, "127.0.0.1:0")
        with supervision.listening():
            async with supervision.running(control):
                addresses.append(supervision.address)
                ready.set()
                await asyncio.to_thread(stop.wait)

    def serve() -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ready.wait(10)
        (run / STATE_FILE).write_text(json.dumps({"pid": os.getpid(), "http": addresses[0]}))
        yield addresses[0]
    finally:
        stop.set()
        thread.join()
        (run / STATE_FILE).unlink(missing_ok=True)
