"""What the page asks for: static files, and views of the run under /api/view. Reads only; what changes anything is not here."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Response
from fastapi.responses import FileResponse
from pydantic import ValidationError

from agent.dashboard.models import Checked, Edits, LiveView, LoopsView, PlacesView, RunView, ScanView, TimelineEntry
from agent.dashboard.scan_view import channel_view
from agent.dashboard.views import Views
from agent.errors import AgentError
from agent.messaging.partial_frames import PartialFrame
from instrument_adapters.protocol.codec import explain

STATIC = Path(__file__).parent / "static"
_EMPTY = (
    "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="  # of no text: plotly fills an empty style element by its object model
)
# Nothing from elsewhere, and neither script nor style in the page itself.
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; script-src 'self'; style-src 'self' '{_EMPTY}'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml", ".txt": "text/plain"}
_RAW = "application/octet-stream"
T = TypeVar("T")


def dashboard(views: Views) -> APIRouter:
    """The page's routes, to be included in the agent's own app.

    Parameters
    ----------
    views
        Of the run.
    """
    router = APIRouter()
    _add_static(router)
    _add_views(router, views)
    _add_arrays(router, views)
    return router


def _add_static(router: APIRouter) -> None:
    files = {path.name: path for path in STATIC.iterdir() if path.suffix in _TYPES}

    @router.get("/")
    def page() -> FileResponse:
        return FileResponse(STATIC / "index.html", headers=HEADERS)

    @router.get("/static/{name}")
    def static(name: str) -> FileResponse:
        path = files.get(name)  # a name, never a path
        if path is None:
            raise HTTPException(404, f"there is no file '{name[:80]}'")
        return FileResponse(path, media_type=_TYPES[path.suffix], headers=HEADERS)


def _add_views(router: APIRouter, views: Views) -> None:
    @router.get("/api/view")
    def run() -> RunView:
        return _found(views.run)

    @router.get("/api/view/live")
    def live() -> LiveView:
        return _found(views.live)

    @router.get("/api/view/decisions/{decision_id}/check")
    async def check(decision_id: str, edits: Annotated[str, Query(max_length=100_000)]) -> Checked:
        try:
            wanted = Edits.model_validate_json(edits)
        except ValidationError as error:
            raise HTTPException(422, f"these are no edits: {explain(error)}") from error
        return _found(lambda: views.check(decision_id, wanted))

    @router.get("/api/view/scans/{instrument_id}/{scan_id}")
    def scan(instrument_id: str, scan_id: str) -> ScanView:
        return _found(lambda: views.scan(instrument_id, scan_id))

    @router.get("/api/view/decisions/{decision_id}")
    def decision(decision_id: str) -> Response:
        return Response(_found(lambda: views.decision(decision_id)), media_type="application/json")

    @router.get("/api/view/decisions/{decision_id}/places")
    def places(decision_id: str) -> PlacesView:
        return _found(lambda: views.places(decision_id))

    @router.get("/api/view/decisions/{decision_id}/loops")
    def loops(decision_id: str) -> LoopsView:
        return _found(lambda: views.loops(decision_id))

    @router.get("/api/view/timeline")
    def timeline(instrument_id: str | None = None, most: Annotated[int, Query(ge=1, le=1000)] = 200) -> list[TimelineEntry]:
        return _found(lambda: views.timeline(instrument_id, most))


def _add_arrays(router: APIRouter, views: Views) -> None:
    @router.get("/api/view/scans/{instrument_id}/{scan_id}/channels/{number}")
    def channel(instrument_id: str, scan_id: str, number: int) -> Response:
        return Response(_found(lambda: views.channel(instrument_id, scan_id, number)), media_type=_RAW)

    @router.get("/api/view/decisions/{decision_id}/reconstructions")
    def reconstructions(decision_id: str, first: Annotated[int, Query(ge=0)] = 0) -> Response:
        content, side = _found(lambda: views.reconstructions(decision_id, first))
        return Response(content, media_type=_RAW, headers={"X-Side": str(side)})

    @router.get("/api/view/partial/{instrument_id}")
    def lines(instrument_id: str) -> Response:
        frame = views.partial(instrument_id)
        if frame is None:
            raise HTTPException(404, f"'{instrument_id}' shows no frame that it is recording")
        return Response(_partial(frame), media_type=_RAW)


def _partial(frame: PartialFrame) -> bytes:
    """Length of a JSON header (4 bytes, little-endian), the header, the main channel's float32 values; NaN: not recorded yet."""
    names = [c.name for c in frame.channels]
    main = next((i for i, n in enumerate(names) if n.lower().startswith("amplitude")), 0)
    values = frame.values[main].copy()
    shown = channel_view(names[main], frame.channels[main].unit, values, False, (1.0, 99.0))
    header = {
        "scan_id": frame.scan_id,
        "frame": frame.frame.model_dump(),
        "at": frame.at.isoformat(),
        "channel": shown.model_dump(),
        "recorded": int(np.count_nonzero(frame.recorded)),
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)  # so that the numbers lie on a multiple of four
    return b"".join([struct.pack("<I", len(text)), text, values.astype("<f4").tobytes()])


def _found(ask: Callable[[], T]) -> T:
    """What `ask` says; an id that the run does not hold is a 404 with the sentence."""
    try:
        return ask()
    except AgentError as error:
        raise HTTPException(404, str(error)) from error
