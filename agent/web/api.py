"""HTTP API of the agent: status, metrics, events and decisions, and the operator's commands. Tests run it without a service.

Nothing is looked up by a name that came over the network: each command has a route of its own.
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
from agent.monitoring.health import HealthChecks
from agent.monitoring.meters import Meters
from agent.safety.control import Control
from agent.web.event_stream import MOST_LISTENERS, Feed
from agent.web.history_reader import HistoryReader
from agent.web.prometheus import CONTENT_TYPE, Reading, render
from agent.web.request_guard import RequestGuard
from agent.web.requests import ApprovalRequest, CommandRequest, RejectionRequest
from instrument_adapters.protocol.messages import Id

_LOG = structlog.get_logger("vaestar.web")
_MAX_DECISIONS = 500


@dataclasses.dataclass(frozen=True, eq=False)
class Backend:
    """The parts of the agent that the API uses.

    Parameters
    ----------
    control
        Commands and status of the agent.
    reader
        Reader of the run's history.
    feed
        Stream of recorded events.
    health
        Health checks.
    meters
        Uptime and latency of the service.
    """

    control: Control
    reader: HistoryReader
    feed: Feed
    health: HealthChecks
    meters: Meters


def create_app(backend: Backend, token: str) -> FastAPI:
    """Return the guarded application, to which further routes may be added, such as those of the dashboard.

    Parameters
    ----------
    backend
        Parts of the agent that the API uses.
    token
        Secret that a request must carry to change anything.
    """
    # No documentation pages: they would load scripts from elsewhere.
    app = FastAPI(title="vaestar", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(RequestGuard, token=token)
    app.include_router(_status_routes(backend))
    app.include_router(_history_routes(backend))
    app.include_router(_command_routes(backend.control))
    _handle_errors(app)
    return app


def _status_routes(backend: Backend) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz")
    async def healthz() -> JSONResponse:
        health = await backend.health.health()
        return JSONResponse(health.as_json(), 200 if health.ok else 503)

    @router.get("/metrics")
    async def metrics() -> Response:
        health = await backend.health.health()
        status, pending = backend.control.status(), len(backend.control.pending())
        meters, reader = backend.meters, backend.reader
        text = await reader.from_counters(lambda counters: render(Reading(counters, status, pending, health, meters)))
        return Response(text, media_type=CONTENT_TYPE)

    @router.get("/api/status")
    async def status() -> dict[str, Any]:
        health = await backend.health.health()
        return {**backend.control.status(), "health": health.as_json()}

    @router.get("/api/pending")
    async def pending() -> dict[str, Any]:
        return {"pending": backend.control.pending()}

    return router


def _history_routes(backend: Backend) -> APIRouter:
    router = APIRouter()

    @router.get("/api/events")
    async def events(
        after: Annotated[int | None, Query(ge=0)] = None,
        last_event_id: Annotated[int | None, Header(ge=0)] = None,
        whole: bool = False,
    ) -> StreamingResponse:
        if backend.feed.full:
            raise HTTPException(503, f"{MOST_LISTENERS} clients already listen to events; close one of them")
        since = after if last_event_id is None else last_event_id  # sent by a browser that reconnects
        return StreamingResponse(backend.feed.stream(since, with_long_values=whole), media_type="text/event-stream")

    @router.get("/api/decisions")
    async def decisions(
        most: Annotated[int, Query(ge=1, le=_MAX_DECISIONS)] = 50, before: Annotated[int | None, Query(ge=1)] = None
    ) -> dict[str, Any]:
        return {"decisions": await backend.reader.decisions(most, before)}

    @router.get("/api/decisions/{decision_id}")
    async def decision(decision_id: Id) -> dict[str, Any]:
        found = await backend.reader.decision(decision_id)
        if found is None:
            raise HTTPException(404, f"this run has no decision '{decision_id}'; GET /api/decisions lists them")
        return found

    return router


def _command_routes(control: Control) -> APIRouter:
    router = APIRouter(prefix="/api")

    async def execute(command: str, request: BaseModel, action: Awaitable[None]) -> dict[str, Any]:
        _LOG.info("command over HTTP", command=command, **request.model_dump(mode="json", exclude_defaults=True))
        await action
        return {"done": command, "status": control.status()}

    @router.post("/pause")
    async def pause(request: CommandRequest) -> dict[str, Any]:
        return await execute("pause", request, control.pause(request.by, request.reason, request.instrument_id))

    @router.post("/resume")
    async def resume(request: CommandRequest) -> dict[str, Any]:
        return await execute("resume", request, control.resume(request.by, request.reason, request.instrument_id))

    @router.post("/stop")
    async def stop(request: CommandRequest) -> dict[str, Any]:
        return await execute("stop", request, control.emergency_stop(request.by, request.reason, request.instrument_id))

    @router.post("/approve")
    async def approve(request: ApprovalRequest) -> dict[str, Any]:
        edits: dict[str, Any] = {"drop": request.drop, "move": request.move, "instrument_id": request.instrument_id}
        return await execute("approve", request, control.approve(request.decision_id, request.by, request.reason, **edits))

    @router.post("/reject")
    async def reject(request: RejectionRequest) -> dict[str, Any]:
        return await execute(
            "reject",
            request,
            control.reject(request.decision_id, request.by, request.reason, instrument_id=request.instrument_id),
        )

    return router


def _handle_errors(app: FastAPI) -> None:
    """Answer every error with JSON that holds one sentence under "error"."""

    def respond(status: int | Callable[[Any], int], sentence: Callable[[Any], str]) -> Callable[..., Awaitable[JSONResponse]]:
        async def handler(_request: Request, error: Exception) -> JSONResponse:
            code = status if isinstance(status, int) else status(error)
            return JSONResponse({"error": sentence(error)}, code, headers=getattr(error, "headers", None))

        return handler

    app.add_exception_handler(ControlError, respond(409, str))
    app.add_exception_handler(HistoryError, respond(503, str))
    app.add_exception_handler(HTTPException, respond(lambda error: error.status_code, lambda error: error.detail))
    app.add_exception_handler(RequestValidationError, respond(_status_of, _validation_message))
    app.add_exception_handler(
        Exception, respond(500, lambda e: f"internal error of the agent ({type(e).__name__}); please report it")
    )


def _status_of(error: RequestValidationError) -> int:
    return 400 if error.errors()[0]["type"] == "json_invalid" else 422


def _validation_message(error: RequestValidationError) -> str:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return f"the body is not JSON: {first['ctx']['error']}"
    key = ".".join(str(part) for part in first["loc"][1:])
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return f"'{key}' is not a known key; remove it"
    return f"'{key}' is missing" if first["type"] == "missing" else f"'{key}' is {str(first['input'])[:200]!r}: {message}"
