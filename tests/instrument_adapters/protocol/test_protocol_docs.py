"""docs/protocol.md describes each message and field exactly as the models define them: nothing missing, nothing invented."""

import json
import re
import typing
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from instrument_adapters.client import connection as link
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import (
    PROTOCOL_VERSION,
    AnyMessage,
    ArraySpec,
    ChannelSpec,
    Limits,
    MeasurementRequest,
    Message,
    Snapshot,
)

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
MESSAGES = {m.model_fields["type"].default: m for m in typing.get_args(typing.get_args(AnyMessage)[0])}
PARTS = {m.__name__: m for m in (ArraySpec, ChannelSpec, Frame, Limits, MeasurementRequest, Snapshot)}
UNITS = {"_m": "m", "_V": "V", "_s": "s", "_rad": "rad"}
ID, NAME = "^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}$", r"^[^\x00-\x1f]+$"
BOUNDS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "maxLength": "≤ {} characters",
    "minItems": "≥ {} of them",
    "maxItems": "≤ {} of them",
    "maxProperties": "≤ {} of them",
}


def kind_of(schema: dict[str, Any]) -> str:
    """Name of a field's type, as in the tables of the page."""
    if "anyOf" in schema:
        return " or ".join(kind_of(s) for s in schema["anyOf"])
    if "$ref" in schema:
        return schema["$ref"].rpartition("/")[2]
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("pattern") == ID:
        return "id"
    if schema.get("pattern") == NAME:
        return "name"
    if schema.get("format") == "date-time":
        return "time"
    if schema["type"] == "array":
        return f"list of {kind_of(schema['items'])}"
    if schema["type"] == "object":
        values = schema.get("additionalProperties") or next(iter(schema["patternProperties"].values()))
        return f"object of {kind_of(values)}"
    return {"string": "text", "boolean": "true or false"}.get(schema["type"], schema["type"])


def range_of(schema: dict[str, Any]) -> str:
    """Range of the values that the models accept; ids and names are explained once on the page."""
    parts = [s for s in schema.get("anyOf", [schema]) if "pattern" not in s]
    if values := schema.get("additionalProperties") or next(iter(schema.get("patternProperties", {}).values()), None):
        parts += [values] if "maximum" in values else []
    return ", ".join(text.format(shown(s[key])) for s in parts for key, text in BOUNDS.items() if key in s)


def shown(bound: float | str) -> str:
    """A bound as the page writes it."""
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


def default_of(schema: dict[str, Any], name: str, required: list[str]) -> str:
    if name in required:
        return "required"
    default = schema.get("default")
    return "its defaults" if isinstance(default, dict) and default else json.dumps(default) if "default" in schema else "{}"


def unit_of(name: str) -> str:
    return next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "")


def rows(model: type[BaseModel]) -> dict[str, list[str]]:
    """Field -> type, unit, range and default, as the page must state them."""
    schema = model.model_json_schema()
    own = model.model_fields.keys() - (Message.model_fields.keys() | {"type"} if model is not Message else set())
    found = {n: s for n, s in schema["properties"].items() if n in own}
    required = schema.get("required", [])
    return {n: [kind_of(s), unit_of(n), range_of(s), default_of(s, n, required)] for n, s in found.items()}


def written(title: str) -> dict[str, list[str]]:
    """Field -> cells of the table under a heading of the page."""
    section = re.search(rf"^### {re.escape(title)}$(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section, f"docs/protocol.md has no section '{title}'"
    lines = [line for line in section[1].splitlines() if line.startswith("| `")]
    cells = [[c.strip() for c in line.strip("|").split(" | ")] for line in lines]
    return {row[0].strip().strip("`"): row[1:] for row in cells}


@pytest.mark.parametrize("title", ["Every message", *(f"`{n}`" for n in MESSAGES), *(f"`{n}`" for n in PARTS)])
def test_each_field_is_described_as_the_models_have_it_and_none_is_invented(title: str) -> None:
    model = {"Every message": Message, **{f"`{n}`": m for n, m in (MESSAGES | PARTS).items()}}[title]
    page, models = written(title), rows(model)
    assert page.keys() == models.keys()
    for name, row in page.items():
        assert row[:4] == models[name], name
        assert len(row[4]) > 3, f"{name} has no meaning"


def test_no_message_is_invented() -> None:
    titles = set(re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE))
    assert titles == MESSAGES.keys() | PARTS.keys()
    summary = set(re.findall(r"^\| `(\w+)` \| (?:instrument|agent|both) \|", PAGE, re.MULTILINE))
    assert summary == MESSAGES.keys()


def test_every_field_of_a_golden_file_is_on_the_page() -> None:
    common = set(written("Every message")) | {"type"}
    for path in (ROOT / "tests" / "golden" / "wire").glob("*.json"):
        fields = json.loads(path.read_bytes()).keys() - common
        assert fields == written(f"`{path.stem}`").keys(), path.name


def test_the_version_and_the_refusals_of_the_adapters_side_are_those_of_the_code() -> None:
    assert f"Version {PROTOCOL_VERSION};" in PAGE
    sources = [p.read_text(encoding="utf-8") for p in (ROOT / "instrument_adapters").glob("*.py")]
    codes = {c for text in sources for c in re.findall(r'ProtocolError\(\s*"(\w+)"', text)}
    codes |= {"unexpected_type", link.HELLO_FIRST}
    listed = set(re.findall(r"`(\w+)`", PAGE.split("## Refusals")[1].split("## ")[0]))
    assert codes - {"not_a_scan"} <= listed, "raised by functions that read messages which were accepted"
