r"""Text from elsewhere (a message, a file, a file's name, a configuration) as it may be shown to people.

A name or a reason may hold characters that a terminal obeys (escape sequences, a new line), that reverse what follows (bidi
overrides) or that cannot be seen (zero width). They are shown as escapes: \x1b, \n, \u202e. What is recorded stays as it came.
"""

import html
import json
import unicodedata
from typing import Any

#: A spreadsheet takes text that begins so for a formula; the last four are the same signs at full width.
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def visible(text: str, *, keep: str = "") -> str:
    """The text in one line, with an escape for each character that would not be seen as itself.

    These are the characters that Python does not count as printable: control characters, format characters (bidi, zero width),
    line separators, private and unassigned characters, and halves of characters (from file names in no known encoding).

    Parameters
    ----------
    text
        Text of any origin.
    keep
        Characters that stay, such as a new line in a text of several lines.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep or unicodedata.category(c) == "Zs" else _escape(c) for c in text)


def as_html(text: str) -> str:
    """The text for an HTML page; lines stay lines."""
    return html.escape(visible(text, keep="\n"))


def as_cell(value: Any) -> Any:
    """The value for a table that may be opened in a spreadsheet: text that would be a formula has an apostrophe in front."""
    if not isinstance(value, str):
        return value
    return ("'" if value.startswith(_FORMULA_PREFIXES) else "") + visible(value, keep="\n")


def as_json(value: Any, indent: int | None = None) -> str:
    """The value as JSON in ASCII, which every terminal and code page takes, and which reads back as it was."""
    return json.dumps(value, indent=indent)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
