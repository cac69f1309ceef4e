"""The HTTP API without a socket, and a fake agent that records the commands it receives."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.errors import ControlError
from agent.monitoring.health import HealthChecks
from agent.monitoring.meters import Meters
from agent.web.api import Backend, create_app
from agent.web.event_stream import Feed
from agent.web.history_reader import HistoryReader

TOKEN = "the-token"
HOST = "127.0.0.1:5557"


INSTRUMENT = {
    "model": "MFP-3D",
    "state": "running",
    "state_reason": "",
    "command_unacknowledged": None,
    "connected": True,
    "last_heard_s": 1.5,
    "doing": {"activity": "measuring", "points_left": 3},
    "newest_scan": {"scan_id": "scan-1"},
    "deciding": None,
}


class FakeControl:
    """Control that records its calls and refuses instrument or decision `no-such`."""

    def __init__(self) -> None:
        self.calls: list[tuple] = []
        self.facts: dict[str, Any] = {"run_id": "run-1", "instruments": {"afm-1": dict(INSTRUMENT)}}
        self.waiting: list[dict[str, Any]] = []

    async def pause(self, by: str, reason: str, instrument_id: str | None = None) -> None:
        self._record("pause", by, reason, instrument_id)

    async def resume(self, by: str, reason: str, instrument_id: str | None = None) -> None:
        self._record("resume", by, reason, instrument_id)

    async def emergency_stop(self, by: str, reason: str, instrument_id: str | None = None) -> None:
        self._record("stop", by, reason, instrument_id)

    async def approve(
        self,
        decision_id: str,
        by: str,
        reason: str = "",
        *,
        drop: Sequence[str] = (),
        move: Mapping[str, tuple[float, float]] | None = None,
        instrument_id: str | None = None,
    ) -> None:
        self._record("approve", by, reason, decision_id, tuple(drop), dict(move or {}), instrument_id)

    async def reject(self, decision_id: str, by: str, reason: str, *, instrument_id: str | None = None) -> None:
        self._record("reject", by, reason, decision_id, instrument_id)

    def pending(self) -> list[dict[str, Any]]:
        return self.waiting

    def status(self) -> dict[str, Any]:
        return self.facts

    def _record(self, *call: Any) -> None:
        if "no-such" in call:
            raise ControlError("there is no instrument 'no-such'; known are afm-1")
        self.calls.append(call)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class ApiClient:
    """Sends requests to an application, as a server would."""

    def __init__(self, app: Any, control: FakeControl, feed: Feed, health: HealthChecks, meters: Meters) -> None:
        self.app, self.control, self.feed, self.health, self.meters = app, control, feed, health, meters
        self.last = Answer(0, {}, b"")

    async def get(self, path: str, **headers: str) -> Answer:
        return await self.request("GET", path, b"", headers)

    async def post(self, path: str, body: Any, **headers: str) -> Answer:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.request(
            "POST", path, content, {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"} | headers
        )

    async def request(self, method: str, path: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        self.last = answer = Answer(0, {}, b"")

        async def send(message: dict) -> None:
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {k.decode().lower(): v.decode() for k, v in message["headers"]}
            else:
                answer.body += message.get("body", b"")

        pieces = [content[i : i + 100_000] for i in range(0, len(content), 100_000)] or [b""]

        async def receive() -> dict:
            if pieces:
                return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}
            await asyncio.Event().wait()
            raise AssertionError

        await self.app(_scope(method, path, headers), receive, send)
        return answer

    async def lines(self, path: str, count: int, **headers: str) -> list[str]:
        """Return the first blocks of a stream and disconnect."""
        received, complete = bytearray(), asyncio.Event()

        async def send(message: dict) -> None:
            received.extend(message.get("body", b""))
            if received.count(b"\n\n") >= count:
                complete.set()

        async def receive() -> dict:
            await complete.wait()
            return {"type": "http.disconnect"}

        async with asyncio.timeout(60):
            await self.app(_scope("GET", path, headers), receive, send)
        return received.decode().split("\n\n")[:count]


def _scope(method: str, path: str, headers: Mapping[str, str]) -> dict:
    path, _, query = path.partition("?")
    sent = {"host": HOST, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "scheme": "http",
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 5557),
    }


@asynccontextmanager
async def api_client(run: Path, comment_s: float = 15.0) -> AsyncIterator[ApiClient]:
    """A client of the API on the history in `run`."""
    control, reader = FakeControl(), HistoryReader(run)
    feed, health, meters = Feed(reader, comment_s), HealthChecks(run), Meters()
    app = create_app(Backend(control, reader, feed, health, meters), TOKEN)
    try:
        yield ApiClient(app, control, feed, health, meters)
    finally:
        feed.end()
        await reader.close()
