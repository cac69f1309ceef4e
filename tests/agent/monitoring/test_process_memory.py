"""Return of freed memory to the system."""

import subprocess
import sys

import pytest

CODE = """
import numpy as np
from agent.monitoring.process_memory import release_freed_memory, resident_bytes

freed, kept = [], []
for _ in range(2000):
    freed.append(np.ones(9_000))
    kept.append(np.ones(100))  # so that the C library cannot shrink its heap by itself
del freed
before = resident_bytes()
release_freed_memory()
print(before, resident_bytes())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked to return memory")
def test_freed_memory_is_returned_to_the_system() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert before > 150e6, "the process held too little memory for this test"
    assert after < 0.5 * before
