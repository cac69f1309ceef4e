"""The directive `rewards`: every reward that has a short name, with its options, from the registry."""

import functools
import inspect
from collections.abc import Callable
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from rewards.registry import REWARDS


def as_markdown() -> str:
    """A table with a row for each function, by the names that it has."""
    names: dict[tuple[str, str], list[str]] = {}
    for name, reward in sorted(REWARDS.items()):
        names.setdefault((_options(reward), _what(reward)), []).append(f"`{name}`")
    rows = [f"| {', '.join(short)} | {options} | {what} |" for (options, what), short in names.items()]
    return "\n".join(["| name | options | what |", "|---|---|---|", *rows])


def _options(reward: Callable[..., Any]) -> str:
    given = reward.keywords if isinstance(reward, functools.partial) else {}
    names = [n for n in inspect.signature(reward).parameters if n not in ("representation", "rng", *given)]
    return ", ".join(f"`{name}`" for name in names)


def _what(reward: Callable[..., Any]) -> str:
    partial = isinstance(reward, functools.partial)
    function = reward.func if partial else reward
    first = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split()).replace("|", "\\|")
    said = f"; `{'`, `'.join(reward.keywords)}` is the name" if partial else ""
    return f"{first} (`{function.__module__}.{function.__name__}`{said})"


class Rewards(SphinxDirective):
    """The table, in place of the directive."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """The table; what stands in the directive is for those who read the page as a file."""
        return self.parse_text_to_nodes(as_markdown())


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("rewards", Rewards)
    return {"parallel_read_safe": True}
