import asyncio
import threading

import pytest

from agent.errors import AgentError, SearchCancelledError
from agent.orchestration import search_thread
from agent.orchestration.search_thread import SearchRun, in_thread
from tests.support.fast_loop import run


def test_the_result_or_exception_of_the_thread_is_passed_on() -> None:
    async def scenario() -> str:
        search = SearchRun(60.0)
        with pytest.raises(AgentError, match="no contrast"):
            await search.result(in_thread(lambda: (_ for _ in ()).throw(AgentError("no contrast"))))
        return await search.result(in_thread(lambda: threading.current_thread().name))

    assert asyncio.run(scenario()) == "search"


def test_the_first_reason_to_end_is_kept() -> None:
    now = [0.0]
    search = SearchRun(10.0, lambda: now[0])
    assert not search.ended()
    search.end("superseded")
    now[0] = 11.0
    search.end("agent stops")
    assert search.end_reason == "superseded"
    late = SearchRun(10.0, lambda: now[0])
    now[0] = 21.0
    late.end("agent stops")
    assert late.end_reason == "too long"
    assert late.seconds == 10.0


def test_a_thread_that_never_ends_is_abandoned_and_does_not_keep_the_process_alive() -> None:
    hang = threading.Event()

    async def scenario() -> float:
        loop = asyncio.get_running_loop()
        search = SearchRun(30.0, loop.time)
        future: asyncio.Future[object] = in_thread(hang.wait)  # type: ignore[arg-type]
        with pytest.raises(SearchCancelledError, match="was abandoned"):
            await search.result(future)
        assert all(thread.daemon for thread in threading.enumerate() if thread.name == "search")
        took = loop.time()
        hang.set()
        while not future.done():
            await asyncio.sleep(0)
        return took

    assert 40.0 <= run(scenario()) < 41.0


def test_a_finished_search_is_noticed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_thread, "_POLL_S", 3600.0)  # whoever waited for the next poll would wait an hour

    async def scenario() -> str:
        return await SearchRun(7200.0).result(in_thread(lambda: "found"))

    assert asyncio.run(scenario()) == "found"
