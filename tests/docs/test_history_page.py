"""The page on the history says what the code does."""

import json
import re
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from agent.cli.app import app
from agent.config.retention import RetentionSettings
from agent.history.event_log import History
from agent.schema import event_kinds
from tests.support.history.golden_runs import golden_run

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "history.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)[0]


def test_the_table_of_events_holds_every_kind() -> None:
    kinds = {value for name, value in vars(event_kinds).items() if name.isupper() and isinstance(value, str)}
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, flags=re.MULTILINE)) - {"arrays/"} == kinds


def test_the_table_of_events_names_the_fields_that_events_have(tmp_path: Path) -> None:
    rows = dict(re.findall(r"^\| `(\w+)` (\|.*)$", PAGE, flags=re.MULTILINE))
    with History(golden_run(tmp_path), read_only=True) as history:
        for event in history.events():
            named = set(re.findall(r"`(\w+)", rows[event.kind]))
            unnamed = set(event.body) - named - ({"id", "sent_at"} if event.kind == event_kinds.RESULT_RECEIVED else set())
            assert not unnamed, (event.kind, unnamed)


def test_the_chain_can_be_checked_with_the_code_on_the_page(tmp_path: Path) -> None:
    scope: dict[str, Any] = {}
    exec(block("python"), scope)
    done = CliRunner().invoke(app, ["history", "export", "--run", str(golden_run(tmp_path))])
    lines = done.stdout.splitlines()[1:]
    assert scope["chain_holds"](lines)
    altered = json.loads(lines[7]) | {"subject": "another"}
    assert not scope["chain_holds"]([*lines[:7], json.dumps(altered), *lines[8:]])


def test_the_commands_on_the_page_are_there_with_their_options() -> None:
    for line in re.findall(r"^vaestar history (.*?)(?:\s+#.*)?$", PAGE, flags=re.MULTILINE):
        command, *rest = line.split()
        done = CliRunner().invoke(app, ["history", command, "--help"], env={"COLUMNS": "300", "NO_COLOR": "1", "TERM": "dumb"})
        assert done.exit_code == 0, line
        for option in (word for word in rest if word.startswith("--")):
            assert option in done.stdout, line


def test_the_settings_on_the_page_are_there() -> None:
    assert {"keep_days", "keep_latents", "keep_weights"} <= set(RetentionSettings.model_fields)
