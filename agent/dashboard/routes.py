"""Read-only routes of the dashboard: static files, and views of the run under /api/view."""

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
from agent.dashboard.run_view import channel_view
from agent.dashboard.views import Views
from agent.errors import AgentError
from agent.messaging.partial_frames import PartialFrame
from instrument_adapters.protocol.codec import explain

STATIC = Path(__file__).parent / "static"
# Hash of the empty text: plotly adds an empty style element and fills it through the DOM.
_EMPTY_HASH = "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
# Nothing is loaded from other hosts, and the page holds neither inline scripts nor inline styles.
HEADERS = {
    "Content-Security-Policy": f"default-src 'none'; script-src 'self'; style-src 'self' '{_EMPTY_HASH}'; "
    "img-src 'self' data: blob:; connect-src 'self'; "
    "font-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
_TYPES = {".js": "text/javascript", ".css": "text/css", ".html": "text/html", ".svg": "image/svg+xml", ".txt": "text/plain"}
_BINARY = "application/octet-stream"
T = TypeVar("T")


def dashboard(views: Views) -> APIRouter:
    """Return the routes of the dashboard, to be included in the agent's HTTP application.

    Parameters
    ----------
    views
        Views of the run.
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
        path = files.get(name)  # looked up by name, so it can be no other path
        if path is None:
            raise HTTPException(404, f"there is no file '{name[:80]}'")
        return FileResponse(path, media_type=_TYPES[path.suffix], headers=HEADERS)


def _add_views(router: APIRouter, views: Views) -> None:
    @router.get("/api/view")
    def run() -> RunView:
        return _or_404(views.run)

    @router.get("/api/view/live")
    def live() -> LiveView:
        return _or_404(views.live)

    @router.get("/api/view/decisions/{decision_id}/check")
    async def check(decision_id: str, edits: Annotated[str, Query(max_length=100_000)]) -> Checked:
        try:
            parsed = Edits.model_validate_json(edits)
        except ValidationError as error:
            raise HTTPException(422, f"the edits are not valid: {explain(error)}") from error
        return _or_404(lambda: views.check(decision_id, parsed))

    @router.get("/api/view/scans/{instrument_id}/{scan_id}")
    def scan(instrument_id: str, scan_id: str) -> ScanView:
        return _or_404(lambda: views.scan(instrument_id, scan_id))

    @router.get("/api/view/decisions/{decision_id}")
    def decision(decision_id: str) -> Response:
        return Response(_or_404(lambda: views.decision(decision_id)), media_type="application/json")

    @router.get("/api/view/decisions/{decision_id}/places")
    def places(decision_id: str) -> PlacesView:
        return _or_404(lambda: views.places(decision_id))

    @router.get("/api/view/decisions/{decision_id}/loops")
    def loops(decision_id: str) -> LoopsView:
        return _or_404(lambda: views.loops(decision_id))

    @router.get("/api/view/timeline")
    def timeline(instrument_id: str | None = None, most: Annotated[int, Query(ge=1, le=1000)] = 200) -> list[TimelineEntry]:
        return _or_404(lambda: views.timeline(instrument_id, most))


def _add_arrays(router: APIRouter, views: Views) -> None:
    @router.get("/api/view/scans/{instrument_id}/{scan_id}/channels/{number}")
    def channel(instrument_id: str, scan_id: str, number: int) -> Response:
        return Response(_or_404(lambda: views.channel(instrument_id, scan_id, number)), media_type=_BINARY)

    @router.get("/api/view/decisions/{decision_id}/reconstructions")
    def reconstructions(decision_id: str, first: Annotated[int, Query(ge=0)] = 0) -> Response:
        content, side = _or_404(lambda: views.reconstructions(decision_id, first))
        return Response(content, media_type=_BINARY, headers={"X-Side": str(side)})

    @router.get("/api/view/partial/{instrument_id}")
    def lines(instrument_id: str) -> Response:
        frame = views.partial(instrument_id)
        if frame is None:
            raise HTTPException(404, f"'{instrument_id}' has sent no lines of an unfinished scan")
        return Response(_encode_partial(frame), media_type=_BINARY)


def _encode_partial(frame: PartialFrame) -> bytes:
    """Encode an unfinished scan: length of a JSON header (little-endian uint32), header, float32 values (NaN: not recorded)."""
    names = [c.name for c in frame.channels]
    main = next((i for i, n in enumerate(names) if n.lower().startswith("amplitude")), 0)
    values = frame.values[main].copy()
    channel = channel_view(names[main], frame.channels[main].unit, values, False, (1.0, 99.0))
    header = {
        "scan_id": frame.scan_id,
        "frame": frame.frame.model_dump(),
        "at": frame.at.isoformat(),
        "channel": channel.model_dump(),
        "recorded": int(np.count_nonzero(frame.recorded)),
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)  # aligns the values to four bytes
    return b"".join([struct.pack("<I", len(text)), text, values.astype("<f4").tobytes()])


def _or_404(query: Callable[[], T]) -> T:
    """Return the result of `query`; an id that the run does not have becomes a 404."""
    try:
        return query()
    except AgentError as error:
        raise HTTPException(404, str(error)) from error
