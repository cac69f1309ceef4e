import asyncio
from pathlib import Path

from structlog.testing import capture_logs

from agent.service.supervision import Supervision


def test_what_is_wrong_is_told_once_and_again_when_it_is_well(tmp_path: Path) -> None:
    wrong = {"now": ""}
    attendance = Supervision(tmp_path, "")
    attendance.health.checks["workers"] = lambda: wrong["now"]

    async def watch() -> list[str]:
        with capture_logs() as logs:
            for sentence in ("", "one has died", "one has died", "", ""):
                wrong["now"] = sentence
                await attendance.look_after()
        return [f"{line['event']}: {line.get('why', '')}" for line in logs if line["check"] == "workers"]

    assert asyncio.run(watch()) == ["not healthy: one has died", "healthy again: "]
