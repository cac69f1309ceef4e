"""Protection against requests forged by other web pages, applied before any route is looked up.

A foreign page that the operator has open can make the browser send requests to loopback. It cannot read the answers, since no
CORS header allows it, unless its own host name resolves to loopback (DNS rebinding): so the Host header must name loopback. It
could still change something: so a change needs JSON, the token, and, where the browser names the origin, our own page.
"""

import json
import re
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES = 1 << 20
_LOOPBACK = re.compile(r"(?:127(?:\.\d{1,3}){3}|localhost|\[::1\])(?::\d{1,5})?")
_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class RequestGuard:
    """ASGI middleware that refuses requests which do not come from a user of this computer.

    Parameters
    ----------
    app
        Guarded application.
    token
        Secret that a request must carry to change anything.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return  # only HTTP is served
        try:
            self._check(scope["method"], Headers(scope=scope))
        except HTTPException as refusal:
            await _refuse(send, refusal)
            return
        await self._app(scope, _limited(receive), _with_headers(send))

    def _check(self, method: str, headers: Headers) -> None:
        host = headers.get("host", "")
        if not _LOOPBACK.fullmatch(host.lower()):
            raise HTTPException(421, f"the agent answers on loopback only, not as {host[:100]!r}; use 127.0.0.1 or localhost")
        if method not in _CHANGES:
            return
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise HTTPException(
                403, f"the page {origin[:100]!r} may not control the agent; use the agent's own page or the command line"
            )
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise HTTPException(
                403, "a page of another site may not control the agent; use the agent's own page or the command line"
            )
        given = headers.get("authorization", "")
        if not secrets.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            raise HTTPException(
                401, "this request needs 'Authorization: Bearer TOKEN'; the token is in control.token of the run directory"
            )
        if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise HTTPException(415, "the body must be JSON: send Content-Type: application/json")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body may have at most {MAX_BODY_BYTES} bytes")


def _limited(receive: Receive) -> Receive:
    """Wrap `receive` so that it refuses a body that is too long, also where no length was announced."""
    received = 0

    async def limited() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body may have at most {MAX_BODY_BYTES} bytes")
        return message

    return limited


def _with_headers(send: Send) -> Send:
    """Wrap `send` so that it adds the security headers; headers of the response itself take precedence."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return send_with_headers


async def _refuse(send: Send, refusal: HTTPException) -> None:
    challenge: Mapping[str, str] = {"WWW-Authenticate": "Bearer"} if refusal.status_code == 401 else {}
    body = json.dumps({"error": refusal.detail}).encode()
    # The request body may be unread, so the connection cannot be reused.
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
    headers |= {**_HEADERS, **challenge}
    await send(
        {
            "type": "http.response.start",
            "status": refusal.status_code,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
