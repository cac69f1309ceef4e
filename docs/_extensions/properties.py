"""Keeps the docstring of a property or attribute as it is: napoleon takes what stands before its first colon for a type."""

from typing import Any

from sphinx.application import Sphinx

_BEFORE_NAPOLEON, _AFTER_NAPOLEON = 400, 600
_kept: dict[str, list[str]] = {}


def _keep(_app: Sphinx, what: str, name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    if what in ("property", "attribute"):
        _kept[name] = list(lines)


def _put_back(_app: Sphinx, _what: str, name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    if name in _kept:
        lines[:] = _kept.pop(name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("autodoc-process-docstring", _keep, priority=_BEFORE_NAPOLEON)
    app.connect("autodoc-process-docstring", _put_back, priority=_AFTER_NAPOLEON)
    return {"parallel_read_safe": True}
