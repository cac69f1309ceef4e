"""What a browser must not be talked into: everything here comes before any route is looked at.

A page from elsewhere that a person has open can make the browser send requests to loopback. It cannot read the answers without
our leave (none is given), unless its own name is made to point here (DNS rebinding): so the Host must be loopback's. It could
still cause a change: so a change needs JSON, the token, and where a browser says from which page it comes, this one.
"""

import json
import re
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_BODY_BYTES = 1 << 20
_LOOPBACK = re.compile(r"(?:127(?:\.\d{1,3}){3}|localhost|\[::1\])(?::\d{1,5})?")
_CHANGES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Refuses, in front of an application, what does not come from this computer's own user.

    Parameters
    ----------
    app
        What is guarded.
    token
        Whoever knows it may change something.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return  # nothing else is served
        try:
            self._check(scope["method"], Headers(scope=scope))
        except HTTPException as refusal:
            await _answer(send, refusal)
            return
        await self._app(scope, _limited(receive), _with_headers(send))

    def _check(self, method: str, headers: Headers) -> None:
        host = headers.get("host", "")
        if not _LOOPBACK.fullmatch(host.lower()):
            raise HTTPException(
                421, f"the agent answers on this computer's loopback only, not as {host[:100]!r}; ask 127.0.0.1 or localhost"
            )
        if method not in _CHANGES:
            return
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise HTTPException(
                403, f"the page {origin[:100]!r} may not tell the agent what to do; use the agent's own page or the command"
            )
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise HTTPException(
                403, "another site's page may not tell the agent what to do; use the agent's own page or the command"
            )
        given = headers.get("authorization", "")
        if not secrets.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
            raise HTTPException(
                401, "this needs 'Authorization: Bearer TOKEN', with the token in control.token of the run directory"
            )
        if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            raise HTTPException(415, "the body must be JSON: send Content-Type: application/json")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BODY_BYTES:
            raise HTTPException(413, f"a body may have {MOST_BODY_BYTES} bytes at most")


def _limited(receive: Receive) -> Receive:
    """The same, until it has been more than a body may have: a length need not be announced."""
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MOST_BODY_BYTES:
            raise HTTPException(413, f"a body may have {MOST_BODY_BYTES} bytes at most")
        return message

    return limited


def _with_headers(send: Send) -> Send:
    """The same, with headers that keep browsers from anything but this page; an answer's own go before."""

    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sent


async def _answer(send: Send, refusal: HTTPException) -> None:
    more: Mapping[str, str] = {"WWW-Authenticate": "Bearer"} if refusal.status_code == 401 else {}
    body = json.dumps({"error": refusal.detail}).encode()
    # The body may not have been read, so the connection cannot be used again.
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close", **_HEADERS, **more}
    await send(
        {
            "type": "http.response.start",
            "status": refusal.status_code,
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
