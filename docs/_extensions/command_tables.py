"""Directive `commands`: all commands of `vaestar` with their options, taken from the program itself."""

import argparse
import enum
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import typer
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from agent.cli.app import app as program
from instrument_adapters.folder import command as folder_command
from instrument_adapters.mfp3d import command as mfp3d_command
from instrument_adapters.replay import command as replay_command
from simulators import __main__ as simulator

# Commands that pass their options to another program, which is started without PyTorch.
OTHERS: Mapping[str, Any] = {
    "simulate": simulator._parser,
    "replay": replay_command._parser,
    "adapter folder": folder_command._parser,
    "adapter mfp3d": mfp3d_command._parser,
    "adapter replay": replay_command._parser,
}
_ALIASES = {"adapter replay": "replay"}
_MAX_CHOICES = 4  # more choices are listed in the last column, not in the first
_KINDS = {int: "N", float: "NUMBER", Path: "PATH", str: "TEXT"}


def commands() -> dict[str, Any]:
    """Name after `vaestar` -> typer command or argparse parser, in the order of `vaestar --help`."""
    found: dict[str, Any] = {}
    for name, command in _walk(typer.main.get_command(program), ""):
        others = {other: parser() for other, parser in OTHERS.items() if other == name or other.startswith(f"{name} ")}
        found |= others or {name: command}
    return found


def as_markdown() -> str:
    """A section for each command, with its description and a table of its options."""
    return "\n\n".join(_section(name, command) for name, command in commands().items())


def _walk(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _walk(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


def _section(name: str, command: Any) -> str:
    parts = [f"## `vaestar {name}`"]
    if name in _ALIASES:
        return "\n\n".join([*parts, f"The same as [`vaestar {_ALIASES[name]}`](#vaestar-{_ALIASES[name]})."])
    parsed = isinstance(command, argparse.ArgumentParser)
    parts.append((command.description if parsed else command.help) or "")
    rows = list(_rows_of_parser(command) if parsed else _rows_of_command(command))
    parts += ["\n".join(["| option | default | meaning |", "|---|---|---|", *rows])] if rows else ["It takes no options."]
    return "\n\n".join(parts)


def _rows_of_command(command: Any) -> Iterator[str]:
    for parameter in command.params:
        if parameter.hidden or "--help" in parameter.opts:
            continue
        named = parameter.opts[0].startswith("-")
        kind = parameter.metavar or ("" if getattr(parameter, "is_flag", False) else _kind(parameter))
        shown = " ".join([*parameter.opts, kind]).strip() if named else parameter.metavar or parameter.name.upper()
        bounds = _bounds(parameter.min, parameter.max)
        yield _row(shown, _default(parameter.required, parameter.default), (parameter.help or "") + bounds, parameter.multiple)


def _rows_of_parser(parser: argparse.ArgumentParser) -> Iterator[str]:
    formatter = parser._get_formatter()
    for action in parser._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        many = action.choices is not None and len(list(action.choices)) > _MAX_CHOICES
        kind = "" if action.nargs == 0 else "NAME" if many else formatter._format_args(action, action.dest.upper())
        names = [*action.option_strings, kind] if action.option_strings else [kind]
        meaning = (action.help or "") % {"default": action.default, "prog": parser.prog}
        meaning += f": {', '.join(f'`{choice}`' for choice in action.choices or ())}" if many else ""
        several = isinstance(action, argparse._AppendAction)
        yield _row(" ".join(names).strip(), _default(action.required, action.default), meaning, several)


def _kind(parameter: Any) -> str:
    kind = parameter.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return "|".join(str(choice.value) for choice in kind)
    return _KINDS.get(kind, "TEXT")


def _bounds(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return ""
    return f" ({low if low is not None else ''} to {high})" if high is not None else f" ({low} or more)"


def _default(required: bool, value: Any) -> str:
    if required:
        return "required"
    value = getattr(value, "value", value)
    plain = isinstance(value, str | int | float | Path) and not isinstance(value, bool)
    return f"`{value}`" if plain and str(value) else ""


def _row(shown: str, default: str, meaning: str, several: bool) -> str:
    cells = [f"`{shown}`", default, f"{meaning.rstrip('.')}; may be given several times" if several else meaning]
    return "| " + " | ".join(cell.replace("|", "\\|").replace(" <", " &lt;").replace("/<", "/&lt;") for cell in cells) + " |"


class Commands(SphinxDirective):
    """Replaces the directive by the sections of all commands."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the sections; the content of the directive is only for readers of the plain file."""
        return self.parse_text_to_nodes(as_markdown(), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive with Sphinx."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
