"""The HTTP API, on a scripted run and a fake agent that records its commands."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.history.event_log import History
from agent.history.run_directory import DATABASE
from tests.support.asgi import Answer, ApiClient, api_client
from tests.support.history.runs import EVENTS, record_run
from tests.support.samples import NOW


def run(directory: Path, scenario: Callable[[ApiClient], Awaitable[Any]], scans: int = 1, **changes: float) -> Any:
    async def main() -> Any:
        async with api_client(directory, **changes) as web:
            return await scenario(web)

    record_run(directory, scans)
    return asyncio.run(main())


COMMANDS = {
    "pause": ({"by": "eva", "reason": "lunch"}, ("pause", "eva", "lunch", None)),
    "resume": ({"by": "eva", "instrument_id": "afm-1"}, ("resume", "eva", "", "afm-1")),
    "stop": ({"by": "eva", "reason": "smoke"}, ("stop", "eva", "smoke", None)),
    "approve": (
        {"by": "eva", "decision_id": "d-1", "drop": ["d-1-0"], "move": {"d-1-1": [1e-7, 2e-7]}},
        ("approve", "eva", "", "d-1", ("d-1-0",), {"d-1-1": (1e-7, 2e-7)}, None),
    ),
    "reject": (
        {"by": "eva", "decision_id": "d-1", "reason": "a scratch", "instrument_id": "afm-1"},
        ("reject", "eva", "a scratch", "d-1", "afm-1"),
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_reaches_the_agent_unchanged(tmp_path: Path, command: str) -> None:
    body, expected = COMMANDS[command]

    async def scenario(web: ApiClient) -> tuple[Answer, list]:
        return await web.post(f"/api/{command}", body), web.control.calls

    response, calls = run(tmp_path, scenario)
    assert response.status == 200, response.body
    assert response.json["done"] == command
    assert response.json["status"]["run_id"] == "run-1"
    assert calls == [expected]


REFUSED = {
    "not json": ("pause", b"{by", 400, "the body is not JSON: "),
    "nothing": ("pause", b"", 422, "'' is missing"),
    "a list": ("pause", [], 422, "'' is '[]': "),
    "no name": ("pause", {"reason": "x"}, 422, "'by' is missing"),
    "a name without letters": ("pause", {"by": ""}, 422, "'by' is '': String should have at least 1 character"),
    "a name of control characters": ("pause", {"by": "\x1b[31m"}, 422, "'by' is "),
    "a name too long": ("pause", {"by": "x" * 65}, 422, "'by' is "),
    "an instrument that is a path": ("pause", {"by": "e", "instrument_id": "../x"}, 422, "'instrument_id' is '../x': "),
    "an unknown key": ("pause", {"by": "e", "force": True}, 422, "'force' is not a known key; remove it"),
    "no reason to reject": ("reject", {"by": "e", "decision_id": "d"}, 422, "'reason' is missing"),
    "a point at infinity": ("approve", b'{"by":"e","decision_id":"d","move":{"r":[Infinity,0]}}', 422, "'move.r.0' is "),
    "half a point": ("approve", {"by": "e", "decision_id": "d", "move": {"r": [0.0]}}, 422, "'move.r.1' is missing"),
    "what cannot be done": ("pause", {"by": "e", "instrument_id": "no-such"}, 409, "there is no instrument 'no-such'; known"),
    "deep nesting": ("pause", b"[" * 100_000, 400, ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_allowed_is_refused_with_a_sentence_and_does_nothing(tmp_path: Path, case: str) -> None:
    command, body, status, sentence = REFUSED[case]

    async def scenario(web: ApiClient) -> tuple[Answer, list]:
        return await web.post(f"/api/{command}", body), web.control.calls

    response, calls = run(tmp_path, scenario)
    assert response.status == status, response.body
    assert list(response.json) == ["error"]
    assert response.json["error"].startswith(sentence)
    assert calls == []


def test_decisions_are_listed_newest_first_and_each_is_available_in_full(tmp_path: Path) -> None:
    async def scenario(web: ApiClient) -> tuple[Answer, ...]:
        page = await web.get("/api/decisions?most=2")
        rest = await web.get(f"/api/decisions?before={page.json['decisions'][-1]['seq']}")
        return page, rest, await web.get("/api/decisions/d-scan-2"), await web.get("/api/decisions/d-scan-9")

    page, rest, one, none = run(tmp_path, scenario, scans=3)
    assert [d["decision_id"] for d in page.json["decisions"]] == ["d-scan-3", "d-scan-2"]
    assert [d["decision_id"] for d in rest.json["decisions"]] == ["d-scan-1"]
    summary = page.json["decisions"][1]
    assert (summary["places"], summary["outcome"], summary["seconds"]) == (2, "one_type_only", 12.5)
    assert one.json["seq"] == summary["seq"]
    assert [r["request_id"] for r in one.json["decision"]["requests"]] == ["d-scan-2-000", "d-scan-2-001"]
    assert set(one.json["arrays"]) == {"points_rc"}
    assert (none.status, none.json["error"]) == (
        404,
        "this run has no decision 'd-scan-9'; GET /api/decisions lists them",
    )


def test_a_listener_gets_missed_events_and_then_new_ones(tmp_path: Path) -> None:
    async def scenario(web: ApiClient) -> list[str]:
        listening = asyncio.create_task(web.lines(f"/api/events?after={EVENTS - 2}", 4))
        await asyncio.sleep(0.05)
        with History(tmp_path) as history:
            history.record("noted", "x", {"text": "line\nline"}, at=NOW)
        web.feed.wake()
        return await listening

    hello, *events = run(tmp_path, scenario)
    assert hello == ": hello"
    assert [line.split("\n")[0] for line in events] == [f"id: {n}" for n in range(EVENTS - 1, EVENTS + 2)]
    kind, data = events[-1].split("\n")[1:]
    assert kind == "event: noted"
    event = json.loads(data.removeprefix("data: "))
    assert (event["seq"], event["subject"], event["body"], event["left_out"]) == (EVENTS + 1, "x", {"text": "line\nline"}, [])


def test_a_browser_that_reconnects_continues_where_it_was(tmp_path: Path) -> None:
    events = run(tmp_path, lambda web: web.lines("/api/events?after=0", 3, last_event_id="7"))
    assert [line.split("\n")[0] for line in events] == [": hello", "id: 8", "id: 9"]


def test_long_values_are_omitted_unless_requested(tmp_path: Path) -> None:
    def scenario(path: str) -> Callable[[ApiClient], Awaitable[list[str]]]:
        return lambda web: web.lines(path, 2)

    (tmp_path / "a").mkdir()
    brief = json.loads(run(tmp_path / "a", scenario("/api/events?after=4"))[1].split("data: ")[1])
    whole = json.loads(run(tmp_path / "b", scenario("/api/events?after=4&whole=true"))[1].split("data: ")[1])
    assert (brief["kind"], brief["left_out"]) == ("decision_made", ["decision"])
    assert (whole["left_out"], whole["body"]["decision"]["decision_id"]) == ([], "d-scan-1")


def test_a_quiet_stream_is_kept_open_by_comments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.web.event_stream._POLL_S", 0.01)
    assert run(tmp_path, lambda web: web.lines("/api/events", 3), comment_s=0.02) == [": hello", ": alive", ": alive"]


def test_more_listeners_than_allowed_are_sent_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.web.event_stream.MOST_LISTENERS", 0)
    response = run(tmp_path, lambda web: web.get("/api/events"))
    assert (response.status, "already listen" in response.json["error"]) == (503, True)


def test_a_listener_is_removed_when_it_disconnects_and_disconnected_when_the_agent_ends(tmp_path: Path) -> None:
    async def scenario(web: ApiClient) -> int:
        await web.lines("/api/events?after=0", 2)
        staying = asyncio.create_task(web.lines("/api/events", 100))
        await asyncio.sleep(0.05)
        web.feed.end()
        await staying
        return len(web.feed._wakeups)

    assert run(tmp_path, scenario) == 0


def test_health_says_what_is_wrong(tmp_path: Path) -> None:
    async def scenario(web: ApiClient) -> tuple[Answer, Answer]:
        well = await web.get("/healthz")
        web.health.checks["workers"] = lambda: "the processes are gone"
        return well, await web.get("/healthz")

    well, ill = run(tmp_path, scenario)
    assert (well.status, well.json["ok"]) == (200, True)
    assert well.json["checks"] == {"event_loop": "ok", "history": "ok", "disk": "ok"}
    assert well.json["disk_free_bytes"] > 0
    assert (ill.status, ill.json["ok"], ill.json["checks"]["workers"]) == (503, False, "the processes are gone")


def test_status_is_the_agents_with_its_health(tmp_path: Path) -> None:
    response = run(tmp_path, lambda web: web.get("/api/status"))
    assert response.json["run_id"] == "run-1"
    assert response.json["health"]["ok"] is True


def test_pending_decisions_are_those_of_the_agent(tmp_path: Path) -> None:
    async def scenario(web: ApiClient) -> Answer:
        web.control.waiting.append({"decision_id": "d-1"})
        return await web.get("/api/pending")

    assert run(tmp_path, scenario).json == {"pending": [{"decision_id": "d-1"}]}


@pytest.mark.slow
def test_an_unreadable_history_is_an_error_503(tmp_path: Path) -> None:
    async def scenario(web: ApiClient) -> Answer:
        (tmp_path / DATABASE).write_bytes(b"no database" * 100)
        return await web.get("/api/decisions")

    response = run(tmp_path, scenario)
    assert response.status == 503
    assert "cannot be opened" in response.json["error"]


def test_a_fault_in_the_agent_gives_a_sentence_and_no_traceback(tmp_path: Path) -> None:
    async def scenario(web: ApiClient) -> Answer:
        web.control.facts = None
        with pytest.raises(TypeError):  # which the server logs
            await web.get("/api/status")
        return web.last

    response = run(tmp_path, scenario)
    assert (response.status, response.json) == (500, {"error": "internal error of the agent (TypeError); please report it"})
