"""Directive `rewards`: all rewards with a short name and their options, taken from the registry."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from rewards.registry import REWARDS


def as_markdown() -> str:
    """A table with a row for each function and all its short names."""
    names: dict[tuple[str, str], list[str]] = {}
    for name, reward in sorted(REWARDS.items()):
        names.setdefault((_options(reward), _meaning(reward)), []).append(f"`{name}`")
    rows = [f"| {', '.join(short)} | {options} | {meaning} |" for (options, meaning), short in names.items()]
    return "\n".join(["| name | options | meaning |", "|---|---|---|", *rows])


def _options(reward: Callable[..., Any]) -> str:
    given = reward.keywords if isinstance(reward, functools.partial) else {}
    names = [n for n in inspect.signature(reward).parameters if n not in ("representation", "rng", *given)]
    return ", ".join(f"`{name}`" for name in names)


def _meaning(reward: Callable[..., Any]) -> str:
    partial = isinstance(reward, functools.partial)
    function = reward.func if partial else reward
    first = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split()).replace("|", "\\|")
    preset = f"; `{'`, `'.join(reward.keywords)}` is the short name" if partial else ""
    return f"{first} (`{function.__module__}.{function.__name__}`{preset})"


class Rewards(SphinxDirective):
    """Replaces the directive by the table."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the table; the content of the directive is only for readers of the plain file."""
        return self.parse_text_to_nodes(as_markdown())


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive with Sphinx."""
    app.add_directive("rewards", Rewards)
    return {"parallel_read_safe": True}
