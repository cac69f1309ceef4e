"""What docs/safety.md says is so."""

import re
import tomllib

from agent.config.model import Config
from agent.config.safety import ApprovalSettings, SafetySettings
from agent.safety.envelope import RULES
from tests.docs.test_docs import DOCS, blocks

PAGE = (DOCS / "safety.md").read_text(encoding="utf-8")


def test_the_table_of_the_envelope_holds_every_rule_in_the_order_of_checking() -> None:
    table = PAGE.partition("## The envelope")[2].partition("##")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == list(RULES)


def test_every_setting_is_named_and_the_configuration_shown_is_one() -> None:
    assert [name for name in (*SafetySettings.model_fields, *ApprovalSettings.model_fields) if f"`{name}`" not in PAGE] == []
    (shown,) = blocks("safety.md", "toml")
    assert Config.model_validate(tomllib.loads(shown)).approval.mode == "review"
