"""A door in a thread of its own, over a run recorded by hand and an agent that only listens."""

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
from tests.support.runs import record_run


@contextmanager
def open_door(run: Path, control: FakeControl) -> Iterator[str]:
    """The address, while it is open; the run directory looks like that of a running agent."""
    record_run(run)
    ready, leave = threading.Event(), threading.Event()
    address = []

    async def main() -> None:
        attendance = Supervision(run, "127.0.0.1:0")
        with attendance.listening():
            async with attendance.attending(control):
                address.append(attendance.address)
                ready.set()
                await asyncio.to_thread(leave.wait)

    def serve() -> None:
        with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
            runner.run(main())

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        assert ready.wait(10)
        (run / STATE_FILE).write_text(json.dumps({"pid": os.getpid(), "http": address[0]}))
        yield address[0]
    finally:
        leave.set()
        thread.join()
        (run / STATE_FILE).unlink(missing_ok=True)
