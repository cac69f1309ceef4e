"""Protects docstrings of properties and attributes from napoleon, which takes the text before the first colon for a type."""

from typing import Any

from sphinx.application import Sphinx

_BEFORE_NAPOLEON, _AFTER_NAPOLEON = 400, 600
_originals: dict[str, list[str]] = {}


def _keep(_app: Sphinx, what: str, name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    if what in ("property", "attribute"):
        _originals[name] = list(lines)


def _restore(_app: Sphinx, _what: str, name: str, _obj: Any, _options: Any, lines: list[str]) -> None:
    if name in _originals:
        lines[:] = _originals.pop(name)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("autodoc-process-docstring", _keep, priority=_BEFORE_NAPOLEON)
    app.connect("autodoc-process-docstring", _restore, priority=_AFTER_NAPOLEON)
    return {"parallel_read_safe": True}
