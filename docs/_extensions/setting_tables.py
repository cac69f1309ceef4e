"""Directive `settings`: all keys of the configuration with default, allowed values and meaning, taken from the models."""

import json
import re
from collections.abc import Iterator, Mapping
from inspect import cleandoc
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from agent.config.model import Config

_BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}"}
_KINDS = {"integer": "integer", "number": "number", "string": "text", "boolean": "true or false", "object": "table"}


def as_markdown() -> str:
    """A section for the top-level keys, and one for each table of the configuration file."""
    schema = Config.model_json_schema()
    parts = schema["$defs"]
    tables = {name: parts[_reference(s)] for name, s in schema["properties"].items() if _reference(s) in parts}
    plain = {name: s for name, s in schema["properties"].items() if name not in tables}
    top = _section("Top-level keys", Config.__doc__ or "", plain, parts)
    rest = [_section(f"`[{name}]`", s.get("description", ""), s["properties"], parts) for name, s in tables.items()]
    return "\n\n".join([top, *rest])


def _section(title: str, docstring: str, keys: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    first, meanings = described(docstring)
    rows = [
        f"| `{name}` | {_default(s)} | {_cell(_allowed(s, parts))} | {_cell(meanings.get(name, ''))} |"
        for name, s in keys.items()
    ]
    return "\n".join([f"## {title}", "", first, "", "| key | default | allowed | meaning |", "|---|---|---|---|", *rows])


def described(docstring: str) -> tuple[str, dict[str, str]]:
    """First paragraph of a numpy-style docstring, and the description of each parameter."""
    text = cleandoc(docstring)
    head, _, rest = text.partition("\nParameters\n")
    meanings: dict[str, str] = {}
    for names, meaning in _entries(rest.partition("\n")[2]):
        meanings |= dict.fromkeys(names, meaning)
    return " ".join(head.split("\n\n")[0].split()), meanings


def _entries(text: str) -> Iterator[tuple[list[str], str]]:
    for name, meaning in re.findall(r"^(\w[\w, ]*)\n((?:[ ]+.*\n?|\n(?=[ ]))+)", text, flags=re.MULTILINE):
        yield [n.strip() for n in name.split(",")], " ".join(meaning.split())


def _reference(schema: Mapping[str, Any]) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _default(schema: Mapping[str, Any]) -> str:
    default = schema.get("default")
    return "" if default is None else f"`{json.dumps(default, ensure_ascii=False)}`"


def _allowed(schema: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_allowed(s, parts) for s in schema["anyOf"] if s.get("type") != "null")
    if "enum" in schema or "const" in schema:
        return ", ".join(f'`"{value}"`' for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_allowed(schema.get('items', {}), parts)}"
    bounds = ", ".join(text.format(f"{schema[key]:g}") for key, text in _BOUNDS.items() if key in schema)
    return f"{_KINDS.get(schema.get('type', ''), 'any')} {bounds}".strip()


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


class Settings(SphinxDirective):
    """Replaces the directive by the sections of all keys."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the sections; the content of the directive is only for readers of the plain file."""
        return self.parse_text_to_nodes(as_markdown(), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive with Sphinx."""
    app.add_directive("settings", Settings)
    return {"parallel_read_safe": True}
