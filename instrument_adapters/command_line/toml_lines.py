"""In which line of a TOML file each value stands, so that an error can name the place.

`tomllib` says what a file holds and not where. The text is walked here after `tomllib` has accepted it, so every rule of TOML
holds already, and only what tells one value from the next has to be known: brackets, quotes, comments and dots.
"""

import re
import tomllib
from bisect import bisect_left
from collections.abc import Callable

Path = tuple[str | int, ...]
Lines = dict[Path, int]

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRING = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'',
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


def toml_lines(text: str) -> Lines:
    """The line, from 1, of each value: path of keys (and of positions, in arrays) -> line of its key or, in an array, of itself.

    Parameters
    ----------
    text
        Valid TOML.
    """
    return _Walk(text.replace("\r\n", "\n")).lines()


def line_of(lines: Lines, path: Path) -> int | None:
    """The line of a value, or else of the innermost table around it that stands in the file."""
    for end in range(len(path), 0, -1):
        if path[:end] in lines:
            return lines[path[:end]]
    return None


class _Walk:
    """One pass over the text."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._ends = [found.start() for found in re.finditer("\n", text)]
        self._lines: Lines = {}
        self._arrays: dict[Path, int] = {}  # arrays of tables: how many there are so far

    def lines(self) -> Lines:
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
        many = self._text.startswith("[[", start)
        self._at += 2 if many else 1
        keys = self._keys()
        self._at += 2 if many else 1
        inside: Path = ()
        for key in keys[:-1]:
            inside = self._entered((*inside, key), start)
        path = (*inside, keys[-1])
        if many:
            self._arrays[path] = self._arrays.get(path, -1) + 1
            self._lines.setdefault(path, self._line(start))
            path = (*path, self._arrays[path])
        self._lines.setdefault(path, self._line(start))
        return path

    def _entered(self, path: Path, start: int) -> Path:
        """A table that a longer name leads through; of an array of tables, its newest one."""
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
        """The parts of a dotted key, up to what follows it."""
        keys = []
        while True:
            self._skip(_BLANK)
            quoted = self._peek() in "\"'"
            part = self._take(_STRING if quoted else _BARE)
            keys.append(_unquoted(part) if quoted else part)
            self._skip(_BLANK)
            if self._peek() != ".":
                return keys
            self._at += 1

    def _value(self, path: Path) -> None:
        opening = self._peek()
        if opening == "[":
            self._inside("]", lambda number: self._element((*path, number)))
        elif opening == "{":
            self._inside("}", lambda _number: self._pair(path))
        else:
            self._take(_STRING if opening in "\"'" else _SCALAR)

    def _element(self, path: Path) -> None:
        self._lines[path] = self._line(self._at)
        self._value(path)

    def _inside(self, closing: str, one: Callable[[int], None]) -> None:
        """Walk over what stands between brackets, separated by commas."""
        self._at += 1
        number = 0
        self._skip(_SPACE)
        while self._peek() != closing:
            one(number)
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

    def _take(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise ValueError(f"the text is not valid TOML at character {self._at}")
        self._at = found.end()
        return found.group()


def _unquoted(key: str) -> str:
    """What a quoted key says."""
    return str(tomllib.loads(f"key = {key}")["key"])
