import subprocess
import sys

import pytest

CODE = """
import numpy as np
from agent.memory import give_back, resident_bytes

many = [np.ones(20_000) for _ in range(800)]
kept = [np.ones(200) for _ in range(50)]
more = [np.ones(9_000) for _ in range(2000)]
del many, more
before = resident_bytes()
give_back()
print(before, resident_bytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C libraries of other systems are not asked")
def test_memory_that_was_freed_is_given_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before > 150e6, "the C library has given it back by itself: then nothing is to be done"
    assert after < 0.5 * before
