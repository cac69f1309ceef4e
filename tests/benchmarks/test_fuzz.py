"""The fuzzer: a few thousand inputs of every target in one process, and whether it detects failures."""

import random
import time
from pathlib import Path

import pytest

from benchmarks.fuzz.mutations import mutated_bytes, mutated_json, mutated_text
from benchmarks.fuzz.physics import MESSAGES
from benchmarks.fuzz.runner import make_input, work
from benchmarks.fuzz.study import TARGETS, Found, _outcome
from benchmarks.fuzz.targets import Input, Target

INPUTS = 2500


@pytest.mark.parametrize("name", [n for n, t in TARGETS.items() if not t.library_may_hang])
def test_a_few_thousand_inputs_find_nothing(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]()
    try:
        inputs = INPUTS / MESSAGES if name == "physics" else INPUTS  # its inputs are sessions
        tally = work(target, 7, range(max(20, round(inputs * target.share))), tmp_path)
    finally:
        target.close()
    assert not tally.failures, f"see {tmp_path}"
    assert sum(tally.outcomes.values()) >= 20


def test_all_shares_sum_to_1() -> None:
    assert sum(target.share for target in TARGETS.values()) == pytest.approx(1.0)


class Bad(Target):
    """Fails in the way that its input names."""

    name, share, answers = "bad", 0.0, (ValueError,)

    def make(self, rng: random.Random) -> Input:
        return [rng.choice((b"fine", b"answer", b"bug", b"slow", b"mute"))]

    def take(self, given: Input) -> str:
        match given[0]:
            case b"answer":
                raise ValueError("a message")
            case b"mute":
                raise ValueError
            case b"bug":
                raise ZeroDivisionError
            case b"slow":
                deadline = time.process_time() + 0.5
                while time.process_time() < deadline:
                    pass
        return "accepted"


def test_every_invalid_answer_is_a_failure_and_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.fuzz.runner.LIMIT_S", 0.05)
    tally = work(Bad(), 0, range(12), tmp_path)
    assert set(tally.outcomes) == {"accepted", "ValueError"}
    assert set(tally.failures) == {
        "ZeroDivisionError",
        "ValueError without a message",
        "took more than 0.05 s of CPU time",
    }
    saved = sorted(p.read_bytes() for p in tmp_path.rglob("*.0"))
    assert set(saved) == {b"bug", b"mute", b"slow"}
    outcome = _outcome({"bad": Found(12, tally)}, 1.0)
    assert outcome.figures["failures"] == sum(tally.failures.values()) > 0


@pytest.mark.parametrize("name", [n for n in TARGETS if n not in {"history", "dispatcher", "spool"}])
def test_an_input_is_the_same_whenever_it_is_made(name: str) -> None:
    targets = TARGETS[name](), TARGETS[name]()
    try:
        assert [make_input(targets[0], 3, n) for n in range(20)] == [make_input(targets[1], 3, n) for n in range(20)]
    finally:
        for target in targets:
            target.close()


def test_mutations_change_what_they_are_given_and_leave_the_original_alone() -> None:
    rng, value = random.Random(0), {"a": [1, {"b": "x"}]}
    assert sum(mutated_json(value, rng) != value for _ in range(100)) > 90
    assert value == {"a": [1, {"b": "x"}]}
    assert sum(mutated_bytes(b"0123456789abcdef" * 9, rng) != b"0123456789abcdef" * 9 for _ in range(100)) > 80
    assert sum(mutated_text("a = 1\nb = 2", rng) != "a = 1\nb = 2" for _ in range(100)) > 80
