"""Requests of foreign web pages and of other users are refused."""

import asyncio
from pathlib import Path

import pytest

from agent.web.request_guard import MAX_BODY_BYTES
from tests.support.asgi import HOST, TOKEN, Answer, api_client
from tests.support.history.runs import record_run

PAUSE = {"by": "eva", "reason": "lunch"}


def answer(run: Path, method: str, body: object = PAUSE, **headers: str) -> Answer:
    async def scenario() -> Answer:
        async with api_client(run) as web:
            response = await (web.get("/api/status", **headers) if method == "GET" else web.post("/api/pause", body, **headers))
            assert bool(web.control.calls) == (method == "POST" and response.status == 200)
            return response

    record_run(run)
    return asyncio.run(scenario())


@pytest.mark.parametrize("host", ["127.0.0.1:5557", "localhost:9", "LOCALHOST", "[::1]:5557", "127.0.0.2"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_loopback_by_any_of_its_names_is_answered(tmp_path: Path, method: str, host: str) -> None:
    assert answer(tmp_path, method, host=host).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example:5557", "127.0.0.1.evil.example", "192.168.0.2:5557", "", "127.0.0.1@evil.example"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_foreign_host_name_that_resolves_to_loopback_is_refused(tmp_path: Path, method: str, host: str) -> None:
    response = answer(tmp_path, method, host=host)
    assert response.status == 421
    assert response.json["error"].startswith("the agent answers on loopback only")


REFUSED = {
    "no token": ({"authorization": ""}, 401, "this request needs 'Authorization: Bearer TOKEN'"),
    "another token": ({"authorization": "Bearer guessed"}, 401, "this request needs"),
    "the token alone": ({"authorization": TOKEN}, 401, "this request needs"),
    "not ascii": ({"authorization": "Bearer \u00e9"}, 401, "this request needs"),
    "another site": ({"origin": "https://evil.example"}, 403, "the page 'https://evil.example' may not"),
    "another port": ({"origin": "http://127.0.0.1:8080"}, 403, "the page"),
    "no origin to speak of": ({"origin": "null"}, 403, "the page 'null' may not"),
    "a site that the browser names": ({"sec_fetch_site": "cross-site"}, 403, "a page of another site may not"),
    "a form": ({"content_type": "application/x-www-form-urlencoded"}, 415, "the body must be JSON"),
    "plain text": ({"content_type": "text/plain"}, 415, "the body must be JSON"),
    "a long body that says so": ({"content_length": str(MAX_BODY_BYTES + 1)}, 413, "the body may have"),
    "a length that is none": ({"content_length": "-1"}, 413, "the body may have"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_a_change_is_refused(tmp_path: Path, case: str) -> None:
    headers, status, sentence = REFUSED[case]
    response = answer(tmp_path, "POST", **headers)
    assert (response.status, response.json["error"].startswith(sentence)) == (status, True)
    assert response.headers["connection"] == "close"


def test_a_long_body_that_does_not_say_so_is_refused(tmp_path: Path) -> None:
    response = answer(tmp_path, "POST", b" " * (MAX_BODY_BYTES + 1))
    assert (response.status, response.json["error"]) == (413, f"the body may have at most {MAX_BODY_BYTES} bytes")


def test_the_agents_own_page_may_change_something(tmp_path: Path) -> None:
    response = answer(
        tmp_path, "POST", origin=f"http://{HOST}", sec_fetch_site="same-origin", content_type="application/json; charset=utf-8"
    )
    assert response.status == 200


def test_no_other_page_may_read_or_frame_what_is_answered(tmp_path: Path) -> None:
    headers = answer(tmp_path, "GET", origin="https://evil.example").headers
    assert not [name for name in headers if name.startswith("access-control")]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/api/nothing"])
def test_pages_that_would_load_something_from_elsewhere_are_not_there(tmp_path: Path, path: str) -> None:
    async def scenario() -> Answer:
        async with api_client(tmp_path) as web:
            return await web.get(path)

    response = asyncio.run(scenario())
    assert (response.status, response.json) == (404, {"error": "Not Found"})
