import asyncio
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from agent.service import supervision
from agent.service.supervision import Supervision


def test_a_problem_is_logged_once_and_so_is_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervision, "_LOG", structlog.get_logger())  # another test may have bound it to a log file
    wrong = {"now": ""}
    supervised = Supervision(tmp_path, "")
    supervised.health.checks["workers"] = lambda: wrong["now"]

    async def watch() -> list[str]:
        with capture_logs() as logs:
            for sentence in ("", "one has died", "one has died", "", ""):
                wrong["now"] = sentence
                await supervised.check_health()
        return [f"{line['event']}: {line.get('why', '')}" for line in logs if line["check"] == "workers"]

    assert asyncio.run(watch()) == ["not healthy: one has died", "healthy again: "]
