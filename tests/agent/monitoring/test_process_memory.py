import subprocess
import sys

import pytest

CODE = """
import numpy as np
from agent.monitoring.process_memory import give_back, resident_bytes

taken, kept = [], []
for _ in range(2000):
    taken.append(np.ones(9_000))
    kept.append(np.ones(100))  # so that the C library cannot cut off the end of its heap by itself
del taken
before = resident_bytes()
give_back()
print(before, resident_bytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the C libraries of other systems are not asked")
def test_memory_that_was_freed_is_given_back_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before > 150e6, "nothing was held"
    assert after < 0.5 * before
