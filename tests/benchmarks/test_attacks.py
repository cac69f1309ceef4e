"""The table of attacks is made of what the tests did, broken promises included."""

from pathlib import Path

import pytest

from benchmarks.attacks.study import gather, run_tests, table
from benchmarks.harness.commandline import CannotRunError

TESTS = """
import pytest

@pytest.mark.attack("a stone is thrown", promise="the window holds")
@pytest.mark.parametrize("size", [1, 2])
def test_stone(size):
    pass

@pytest.mark.attack("a brick is thrown", promise="the window holds")
@pytest.mark.parametrize("size", [1, 2])
def test_brick(size):
    assert size == 1

@pytest.mark.attack("an elephant comes", promise="nobody is hurt")
def test_elephant():
    pytest.skip("no elephant here")

def test_nothing():
    pass
"""


@pytest.mark.slow
def test_the_table_says_what_held_what_broke_and_what_was_skipped(tmp_path: Path) -> None:
    (tmp_path / "test_window.py").write_text(TESTS)
    attacks = gather(run_tests([str(tmp_path / "test_window.py")], processes=0))
    assert {a.what: (a.result, len(a.tests)) for a in attacks} == {
        "a stone is thrown": ("held", 2),
        "a brick is thrown": ("broken", 2),
        "an elephant comes": ("skipped", 1),
    }
    figures = table(attacks).figures
    assert figures == {"attacks": 3, "tests": 5, "held": 1, "broken": 1, "skipped": 1}


@pytest.mark.slow
def test_without_attacks_one_sentence_says_so(tmp_path: Path) -> None:
    (tmp_path / "test_none.py").write_text("def test_nothing():\n    pass\n")
    with pytest.raises(CannotRunError, match="no test carries the marker 'attack'"):
        run_tests([str(tmp_path / "test_none.py")], processes=0)
