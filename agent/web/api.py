"""The application behind the door: what may be asked, and a person's words to the agent. It runs without a service, in tests.

Nothing here is looked up by a name that came over the network: every word has a route of its own.
"""

import dataclasses
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from agent.errors import ControlError, HistoryError
from agent.history.counters import RunCounters
from agent.monitoring.health import HealthChecks
from agent.monitoring.meters import Meters
from agent.safety.control import Control
from agent.web.event_stream import MOST_LISTENERS, Feed
from agent.web.history_reader import HistoryReader
from agent.web.prometheus import CONTENT_TYPE, Reading, rendered
from agent.web.request_guard import Guard
from agent.web.requests import Approval, Order, Rejection
from instrument_adapters.protocol.messages import Id

_LOG = structlog.get_logger("vaestar.web")
_MOST_SHOWN = 500


@dataclasses.dataclass(frozen=True, eq=False)
class Parts:
    """What the application asks.

    Parameters
    ----------
    control
        The agent, as a person steers it.
    reader
        Of the run's history.
    feed
        Of what is recorded.
    health
        Whether all is well.
    meters
        What the service measures of itself.
    """

    control: Control
    reader: HistoryReader
    feed: Feed
    health: HealthChecks
    meters: Meters


def create_app(parts: Parts, token: str) -> FastAPI:
    """The application, behind its guard; further routes, such as a page's, may be mounted on it.

    Parameters
    ----------
    parts
        What it asks.
    token
        Whoever knows it may change something.
    """
    # No documentation pages: they would load scripts from elsewhere.
    app = FastAPI(title="vaestar", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, token=token)
    app.include_router(_of_the_moment(parts))
    app.include_router(_of_the_history(parts))
    app.include_router(_words(parts.control))
    _handle_errors(app)
    return app


def _of_the_moment(parts: Parts) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> JSONResponse:
        health = await parts.health.health()
        return JSONResponse(health.as_json(), 200 if health.ok else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        health = await parts.health.health()
        status, pending = parts.control.status(), len(parts.control.pending())
        text = await parts.reader.counted(lambda tally: rendered(Reading(tally, status, pending, health, parts.meters)))
        return Response(text, media_type=CONTENT_TYPE)

    @router.get("/api/status")
    async def status() -> dict[str, Any]:
        health = await parts.health.health()
        return {**parts.control.status(), "health": health.as_json()}

    @router.get("/api/pending")
    async def pending() -> dict[str, Any]:
        return {"pending": parts.control.pending()}

    return router


def _of_the_history(parts: Parts) -> APIRouter:
    router = APIRouter()

    @router.get("/api/events")
    async def events(
        after: Annotated[int | None, Query(ge=0)] = None,
        last_event_id: Annotated[int | None, Header(ge=0)] = None,
        whole: bool = False,
    ) -> StreamingResponse:
        if parts.feed.full:
            raise HTTPException(503, f"{MOST_LISTENERS} listen already; close one of them")
        since = after if last_event_id is None else last_event_id  # a browser that comes back says what it has seen
        return StreamingResponse(parts.feed.stream(since, whole=whole), media_type="text/event-stream")

    @router.get("/api/decisions")
    async def decisions(
        most: Annotated[int, Query(ge=1, le=_MOST_SHOWN)] = 50, before: Annotated[int | None, Query(ge=1)] = None
    ) -> dict[str, Any]:
        def newest_first(tally: RunCounters) -> list[dict[str, Any]]:
            wanted = [s for s in reversed(tally.summaries) if before is None or s["seq"] < before]
            return wanted[:most]

        return {"decisions": await parts.reader.counted(newest_first)}

    @router.get("/api/decisions/{decision_id}")
    async def decision(decision_id: Id) -> dict[str, Any]:
        found = await parts.reader.decision(decision_id)
        if found is None:
            raise HTTPException(404, f"there is no decision '{decision_id}' in this run; GET /api/decisions lists them")
        return found

    return router


def _words(control: Control) -> APIRouter:
    router = APIRouter(prefix="/api")

    async def done(word: str, said: BaseModel, deed: Awaitable[None]) -> dict[str, Any]:
        _LOG.info("told over HTTP", word=word, **said.model_dump(mode="json", exclude_defaults=True))
        await deed
        return {"done": word, "status": control.status()}

    @router.post("/pause")
    async def pause(said: Order) -> dict[str, Any]:
        return await done("pause", said, control.pause(said.by, said.reason, said.instrument_id))

    @router.post("/resume")
    async def resume(said: Order) -> dict[str, Any]:
        return await done("resume", said, control.resume(said.by, said.reason, said.instrument_id))

    @router.post("/stop")
    async def stop(said: Order) -> dict[str, Any]:
        return await done("stop", said, control.emergency_stop(said.by, said.reason, said.instrument_id))

    @router.post("/approve")
    async def approve(said: Approval) -> dict[str, Any]:
        edits: dict[str, Any] = {"drop": said.drop, "move": said.move, "instrument_id": said.instrument_id}
        return await done("approve", said, control.approve(said.decision_id, said.by, said.reason, **edits))

    @router.post("/reject")
    async def reject(said: Rejection) -> dict[str, Any]:
        return await done(
            "reject", said, control.reject(said.decision_id, said.by, said.reason, instrument_id=said.instrument_id)
        )

    return router


def _handle_errors(app: FastAPI) -> None:
    """Every error is JSON with one sentence under "error"."""

    def answering(status: int | Callable[[Any], int], sentence: Callable[[Any], str]) -> Callable[..., Awaitable[JSONResponse]]:
        async def answer(_request: Request, error: Exception) -> JSONResponse:
            code = status if isinstance(status, int) else status(error)
            return JSONResponse({"error": sentence(error)}, code, headers=getattr(error, "headers", None))

        return answer

    app.add_exception_handler(ControlError, answering(409, str))
    app.add_exception_handler(HistoryError, answering(503, str))
    app.add_exception_handler(HTTPException, answering(lambda error: error.status_code, lambda error: error.detail))
    app.add_exception_handler(RequestValidationError, answering(_status_of, _told))
    app.add_exception_handler(Exception, answering(500, lambda e: f"a fault in the agent ({type(e).__name__}); please report it"))


def _status_of(error: RequestValidationError) -> int:
    return 400 if error.errors()[0]["type"] == "json_invalid" else 422


def _told(error: RequestValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return f"the body is not JSON: {first['ctx']['error']}"
    key = ".".join(str(part) for part in first["loc"][1:])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"'{key}' is unknown; leave it out"
    return f"'{key}' is missing" if first["type"] == "missing" else f"'{key}' is {str(first['input'])[:200]!r}: {message}"
