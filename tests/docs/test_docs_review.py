"""The pages on one's own adapter and on review mode, followed with a real agent; and every other command that steers one."""

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.docs import programs
from tests.docs.excepted import excepted
from tests.docs.snippets import Command, commands, snippet

ADAPTER, REVIEW = "howto-own-adapter.md", "howto-review-mode.md"
# The page's search, made one of seconds.
QUICKER = {"[9, 13]": "[9]", "seeds = 2": 'seeds = 1\nfamilies = ["polar"]\nworkers = 0'}
LONGEST_S = 30.0


def until(said: Callable[[], Any], what: str) -> Any:
    """What is said, once something is."""
    end = time.monotonic() + LONGEST_S
    while not (found := said()):
        assert time.monotonic() < end, f"waited {LONGEST_S:g} s for {what}"
        time.sleep(0.1)
    return found


def lay_out(desk: Path) -> None:
    (desk / "my_microscope.py").write_text(snippet(ADAPTER, "python", 0), encoding="utf-8")
    (desk / "my_adapter.py").write_text(snippet(ADAPTER, "python", 1), encoding="utf-8")
    quick = f"{snippet(ADAPTER, 'toml')}\n[reward_options]\nrestarts = 2\n"
    for shown, quicker in QUICKER.items():
        assert shown in quick
        quick = quick.replace(shown, quicker)
    (desk / "my_lab.toml").write_text(quick, encoding="utf-8")
    (desk / "review.toml").write_text(f"{snippet(REVIEW, 'toml')}\n{quick}", encoding="utf-8")


def of_page(page: str) -> list[list[str]]:
    return [c.words for c in commands() if c.page == page]


def at(address: str, words: list[str]) -> list[str]:
    return [address if word.startswith("tcp://") else word for word in words]


def test_the_adapter_is_short_and_works_for_an_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(snippet(ADAPTER, "python", 1).splitlines()) < 60
    lay_out(tmp_path)
    monkeypatch.chdir(tmp_path)
    serve, adapter, explain = of_page(ADAPTER)
    with programs.serving(serve, tmp_path) as address:
        done = subprocess.run(programs.program(at(address, adapter)), **programs.shell(), check=False)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count(" is ok") == 12
    told = programs.run(explain)
    assert re.search(r"2 decisions \(.*\); 12 points recommended", told)  # what is found depends on the noise
    assert "12 results (12 ok)" in told


class Reviewed:
    """An agent in review mode and the adapter of the page, which is started again when it has ended."""

    def __init__(self, address: str, desk: Path, stack: ExitStack) -> None:
        self._words, self._desk, self._stack = ["python", "my_adapter.py", address], desk, stack
        self._adapter: subprocess.Popen[bytes] | None = None

    def connect(self) -> None:
        """Have an adapter at work."""
        if self._adapter is None or self._adapter.poll() is not None:
            log = (self._desk / "adapter.log").open("ab")
            self._stack.callback(log.close)
            how = {name: value for name, value in programs.shell().items() if name == "env"}
            self._adapter = subprocess.Popen(programs.program(self._words), stdout=log, stderr=log, **how)
            self._stack.callback(self._adapter.wait)
            self._stack.callback(self._adapter.terminate)

    def ended(self) -> bool:
        """Whether the adapter has."""
        return self._adapter is None or self._adapter.poll() is not None

    def waiting(self) -> dict[str, Any]:
        """The decision that waits for a person, once one does."""
        self.connect()
        (decision,) = until(lambda: json.loads(programs.run(["vaestar", "pending", "--json"])), "a decision to approve")
        return dict(decision)


@pytest.fixture(scope="module")
def reviewed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reviewed]:
    desk = tmp_path_factory.mktemp("review")
    lay_out(desk)
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.chdir(desk)
        address = stack.enter_context(programs.serving(of_page(REVIEW)[0], desk))
        yield Reviewed(address, desk, stack)


def steers(command: Command) -> bool:
    words = command.words
    asks = command.page == REVIEW and words[:2] == ["vaestar", "history"]
    return words[0] == "vaestar" and not excepted(command) and (asks or programs.split(words)[0] in programs.STEERING)


@pytest.mark.parametrize("page", sorted({c.page for c in commands() if steers(c)}, key=lambda page: (page != REVIEW, page)))
def test_the_commands_of_a_page_steer_the_agent(page: str, reviewed: Reviewed) -> None:
    for command in (c for c in commands() if c.page == page and steers(c)):
        words = command.words
        if any(re.search(r"\bd-[0-9a-f]{4}", word) for word in words):
            words = really(words, reviewed.waiting())
        programs.run(words)
        if words[1] == "stop":  # an adapter without `halt` ends at an emergency stop, as its page says
            until(reviewed.ended, "the adapter to end")
    programs.run(["vaestar", "resume"])


def really(words: list[str], waiting: dict[str, Any]) -> list[str]:
    """The words with the decision that waits in place of the page's, and a place near the one to be moved."""
    requests = {r["request_id"]: r for r in waiting["requests"]}
    real = [re.sub(r"d-[0-9a-f]+(\.\.\.)?", waiting["decision_id"], word) for word in words]
    for at_word, word in enumerate(real):
        request, equals, _ = word.partition("=")
        if equals and request in requests:
            x_um, y_um = (requests[request][axis] * 1e6 for axis in ("x_m", "y_m"))
            real[at_word] = f"{request}={x_um * 0.99:.4f},{y_um * 0.99:.4f}"
    return real


def test_who_approved_and_rejected_is_in_the_history(reviewed: Reviewed) -> None:
    told = programs.run(["vaestar", "history", "export", "--run", "runs/review"])
    events = [json.loads(line) for line in told.splitlines()[1:]]
    given = [e["body"] for e in events if e["kind"] == "approval_given"]
    assert "Ada" in {g["by"] for g in given}
    assert any(g["dropped"] for g in given)
    assert any(g["moved"] for g in given)
    assert any(e["kind"] == "approval_rejected" for e in events)
    assert {e["body"]["command"] for e in events if e["kind"] == "command_given"} == {"pause", "resume", "stop"}
