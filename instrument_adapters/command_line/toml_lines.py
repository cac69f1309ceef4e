"""Line numbers of the values in a TOML file, for error messages.

`tomllib` returns the values without their positions. The text is scanned here after `tomllib` has accepted it, so it is valid
TOML, and only the characters that separate values matter: brackets, quotes, comments and dots.
"""

import re
import tomllib
from bisect import bisect_left
from collections.abc import Callable

Path = tuple[str | int, ...]
LineNumbers = dict[Path, int]

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'',
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


def find_lines(text: str) -> LineNumbers:
    """Line number (from 1) of each value by its path of keys and array indices: the line of its key; in an array, its own.

    Parameters
    ----------
    text
        Valid TOML text.
    """
    return _LineScanner(text.replace("\r\n", "\n")).lines()


def find_line(lines: LineNumbers, path: Path) -> int | None:
    """Line of a value; for a missing value the line of the innermost enclosing table; None if there is none."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return None


class _LineScanner:
    """Finds the line of each value in one pass over the text."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._ends = [found.start() for found in re.finditer("\n", text)]
        self._lines: LineNumbers = {}
        self._arrays: dict[Path, int] = {}  # arrays of tables: index of the newest table

    def lines(self) -> LineNumbers:
        table: Path = ()
        self._skip(_SPACE)
        while self._at < len(self._text):
            if self._peek() == "[":
                table = self._header()
            else:
                self._pair(table)
            self._skip(_SPACE)
        return self._lines

    def _header(self) -> Path:
        start = self._at
        is_array = self._text.startswith("[[", start)
        self._at += 2 if is_array else 1
        keys = self._keys()
        self._at += 2 if is_array else 1
        parent: Path = ()
        for key in keys[:-1]:
            parent = self._enter((*parent, key), start)
        path = (*parent, keys[-1])
        if is_array:
            self._arrays[path] = self._arrays.get(path, -1) + 1
            self._lines.setdefault(path, self._line(start))
            path = (*path, self._arrays[path])
        self._lines.setdefault(path, self._line(start))
        return path

    def _enter(self, path: Path, start: int) -> Path:
        """Record the table and return its path; for an array of tables, the path of its latest table."""
        self._lines.setdefault(path, self._line(start))
        return (*path, self._arrays[path]) if path in self._arrays else path

    def _pair(self, table: Path) -> None:
        start = self._at
        path = table
        for key in self._keys():
            path = (*path, key)
            self._lines.setdefault(path, self._line(start))
        self._at += 1  # the equals sign
        self._skip(_BLANK)
        self._value(path)

    def _keys(self) -> list[str]:
        """Parts of a dotted key."""
        keys = []
        while True:
            self._skip(_BLANK)
            quoted = self._peek() in "\"'"
            part = self._match(_STRING if quoted else _BARE)
            keys.append(_unquoted(part) if quoted else part)
            self._skip(_BLANK)
            if self._peek() != ".":
                return keys
            self._at += 1

    def _value(self, path: Path) -> None:
        opening = self._peek()
        if opening == "[":
            self._items("]", lambda number: self._element((*path, number)))
        elif opening == "{":
            self._items("}", lambda _number: self._pair(path))
        else:
            self._match(_STRING if opening in "\"'" else _SCALAR)

    def _element(self, path: Path) -> None:
        self._lines[path] = self._line(self._at)
        self._value(path)

    def _items(self, closing: str, scan_item: Callable[[int], None]) -> None:
        """Scan the items between brackets, which are separated by commas."""
        self._at += 1
        number = 0
        self._skip(_SPACE)
        while self._peek() != closing:
            scan_item(number)
            number += 1
            self._skip(_SPACE)
            if self._peek() == ",":
                self._at += 1
                self._skip(_SPACE)
        self._at += 1

    def _line(self, at: int) -> int:
        return bisect_left(self._ends, at) + 1

    def _peek(self) -> str:
        return self._text[self._at]

    def _skip(self, pattern: re.Pattern[str]) -> None:
        found = pattern.match(self._text, self._at)
        self._at = found.end() if found else self._at

    def _match(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise ValueError(f"the text is not valid TOML at character {self._at}")
        self._at = found.end()
        return found.group()


def _unquoted(key: str) -> str:
    """A quoted key without its quotes and escapes."""
    return str(tomllib.loads(f"key = {key}")["key"])
