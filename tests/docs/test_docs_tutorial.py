"""The tutorial from its first command to its last, with agent and simulated microscope as two programs."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.docs import programs
from tests.docs.excepted import excepted
from tests.docs.snippets import commands, snippet

PAGE = "tutorial.md"
# The page's search without its VAEs, which tests/system/test_loop.py trains in a closed loop, and by one process.
QUICKER = {"[9, 13]": "[13]", "seeds = 2": 'seeds = 1\nfamilies = ["polar"]\nworkers = 0'}


def test_the_tutorial_can_be_followed_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = f"{snippet(PAGE, 'toml')}\n[reward_options]\nrestarts = 2\n"
    for shown, quicker in QUICKER.items():
        assert shown in first
        first = first.replace(shown, quicker)
    Path("first.toml").write_text(first, encoding="utf-8")
    demo, serve, simulate, *asked = [c.words for c in commands() if c.page == PAGE and not excepted(c)]
    assert demo == ["vaestar", "demo"]  # tests/system/test_loop.py runs it with a smaller search
    with programs.serving(serve, tmp_path) as address:
        words = [address if word.startswith("tcp://") else word for word in simulate]
        done = subprocess.run(programs.program(words), **programs.shell(), check=False)
        assert done.returncode == 0, done.stderr
        assert asked.pop(0) == ["vaestar", "status"]
        assert "mfp3d-sim" in programs.run(["vaestar", "status"])
    listed = programs.run(["vaestar", "history", "list", "--run", "runs/first"])
    decision = re.findall(r"\bd-[0-9a-f]{16}\b", listed)[0]
    told = {}
    for words in asked:
        real = [word.replace("d-35d0dbff38438525", decision) for word in words]
        told[" ".join(words[1:])] = programs.run(real)
    assert "2 decisions (" in told["history explain --run runs/first"]
    assert told["history replay --all --run runs/first"].endswith("2 decisions: 2 identical, 0 different\n")
    assert Path("first.html").stat().st_size > 100_000
    exec(compile(snippet(PAGE, "python"), PAGE, "exec"), {})
    assert Path("places.png").read_bytes().startswith(b"\x89PNG")
