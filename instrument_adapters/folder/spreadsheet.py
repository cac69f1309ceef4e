"""Reads tables as people and spreadsheet programs save them, and refuses numbers and dates that could mean two things.

Spreadsheet programs save the same table in many ways: in UTF-8, UTF-16 or Windows-1252, with commas, semicolons or tabs between
columns, with a line `sep=;` before it, with points or commas in numbers and separators between thousands, with empty rows and
columns after it. All of these are read. `1,234` is 1.234 in one country and 1234 in another: such a number is read only if the
other numbers of its column, or of the table, or the separator of columns show which is meant.
"""

import csv
import io
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from instrument_adapters.errors import AdapterError

_SEPARATOR_LINE = re.compile(r'\ufeff?"?sep=(.)?"?[;,\t ]*(\r\n|\r|\n|$)', re.IGNORECASE)
_THOUSANDS = re.compile("[ '\u00a0\u2009\u202f\u2019]")
_NUMBER = re.compile(r"([+-]?)([0-9.,]+)([eE][+-]?[0-9]{1,4})?")
_GROUPED_BY_SPACES = re.compile(r"[+-]?[0-9]{1,3}(?: [0-9]{3})+(?:[.,][0-9]*)?")
_DATE = re.compile(
    r"(\d{1,4})([./-])(\d{1,2})\2(\d{1,4}),?\s+(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d*)?)?\s*(?:([ap])\.?\s?m\.?)?", re.IGNORECASE
)


class ResultFileError(AdapterError, ValueError):
    """A file in the inbox is not a valid table of results."""


@dataclass(frozen=True)
class Table:
    """A table of text.

    Parameters
    ----------
    names
        Names of the columns; "" for a column without one.
    rows
        Cells of each row below the names, without space around them; a row may be shorter or longer than the names.
    separator
        Character between columns.
    """

    names: Sequence[str]
    rows: Sequence[Sequence[str]]
    separator: str

    def decimal_marks(self, columns: Iterable[str]) -> dict[str, str]:
        """Column -> "." or ",", whichever separates the decimals in it; "" if that cannot be told."""
        found = {name: {_clear_mark(cell) for cell in self._column(name)} - {""} for name in columns}
        anywhere = set().union(*found.values()) if found else set()
        usual = {";": ",", ",": "."}.get(self.separator, "")  # programs use semicolons where the comma separates decimals
        table = usual if not anywhere else anywhere.copy().pop() if len(anywhere) == 1 else ""
        return {name: table if not marks else marks.copy().pop() if len(marks) == 1 else "" for name, marks in found.items()}

    def _column(self, name: str) -> list[str]:
        at = self.names.index(name)
        return [row[at] for row in self.rows if len(row) > at]


def read_text(raw: bytes, path: Path) -> str:
    """Text in UTF-8, in UTF-16 (with or without byte order mark), or else in Windows-1252.

    Raises
    ------
    ResultFileError
        If it is in none of these.
    """
    try:
        if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
            text = raw.decode("utf-16")
        elif b"\0" in raw[:2]:
            text = raw.decode("utf-16-be" if raw[:1] == b"\0" else "utf-16-le")
        else:
            text = _eight_bit(raw)
    except UnicodeDecodeError as error:
        raise ResultFileError(f"{path} is in an unknown character set ({error.reason}); save it as CSV UTF-8") from error
    if "\0" in text:
        raise ResultFileError(f"{path} holds zero bytes, so it is incomplete or no text; save it as CSV UTF-8")
    return text


def _eight_bit(raw: bytes) -> str:
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252")  # the encoding of spreadsheets on Windows


def read_table(raw: bytes, path: Path, known: Mapping[str, str]) -> Table:
    """The table in a file.

    Parameters
    ----------
    raw
        Content of the file.
    path
        Path of the file, for messages.
    known
        Name in lower case -> name, of the columns whose names are written in any case and with spaces for underscores.

    Raises
    ------
    ResultFileError
        If the file holds no table, or two of its columns have the same name.
    """
    text = read_text(raw, path)
    stated = _SEPARATOR_LINE.match(text)
    text = text[stated.end() :] if stated else text
    separator = (stated[1] if stated else "") or max(",;\t", key=lambda mark: _names_found(text, mark, known))
    table = _split(text, separator, path, known)
    named = [name for name in table.names if name]
    if not named:
        raise ResultFileError(f"{path} is empty; save the outbox's table with the columns request_id and status filled in")
    twice = next((name for name in named if named.count(name) > 1), None)
    if twice is not None:
        raise ResultFileError(f"{path} has two columns named {twice[:40]!r}; give each column a name of its own")
    return table


def known_name(name: str, known: Mapping[str, str]) -> str:
    """The name of a column: a known one whatever its case, else as it stands, without space around it."""
    name = name.strip()
    return known.get(re.sub(r"\s+", "_", name).lower(), name)


def _names_found(text: str, separator: str, known: Mapping[str, str]) -> tuple[int, int]:
    """Numbers of known names and of cells in the first row that is not empty."""
    try:
        first = next((row for row in _cells(text, separator) if any(row)), [])
    except csv.Error:
        return 0, 0
    return sum(known_name(name, known) in known.values() for name in first), len(first)


def _cells(text: str, separator: str) -> Iterator[list[str]]:
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True):
        yield [cell.strip() for cell in row]


def _split(text: str, separator: str, path: Path, known: Mapping[str, str]) -> Table:
    try:
        rows = list(_cells(text, separator))
    except (csv.Error, TypeError, ValueError) as error:
        raise ResultFileError(f"{path} is not a table ({error}); save it as CSV") from error
    first = next((n for n, row in enumerate(rows) if any(row)), len(rows))
    names = [known_name(name, known) for name in rows[first]] if rows[first:] else []
    return Table(names, rows[first + 1 :], separator)


def read_number(value: object, mark: str) -> float:
    """The finite number in a cell.

    Parameters
    ----------
    value
        Content of the cell: text, or a number of a JSON file.
    mark
        "." or ",", whichever separates decimals in its column; "" if that is not known.

    Raises
    ------
    ValueError
        If it is no number, or could be two; the message is what to give.
    """
    number = _number_in_text(value, mark) if isinstance(value, str) else _plain_number(value)
    if not math.isfinite(number):
        raise ValueError(NO_NUMBER)
    return number


def _plain_number(value: object) -> float:
    try:
        return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
    except OverflowError:
        return math.inf


def _number_in_text(text: str, mark: str) -> float:
    text = _THOUSANDS.sub(" ", text.strip().replace("\u2212", "-"))
    if " " in text:
        if not _GROUPED_BY_SPACES.fullmatch(text):
            raise ValueError(NO_NUMBER)
        return float(text.replace(" ", "").replace(",", "."))
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise ValueError(NO_NUMBER)
    sign, digits, power = found.groups("")
    if _could_be_thousands(digits, power) and (set(digits) & set(".,")) != {mark}:
        plain = re.sub("[.,]", "", digits)
        decimal = re.sub("[.,]", ".", digits)
        raise ValueError(
            f"that could be {sign}{decimal} or {sign}{plain}; give {sign}{plain}, or {sign}{decimal}0 with a fourth digit"
        )
    return float(sign + _with_point(digits) + power)


NO_NUMBER = "give a finite number or leave it empty"


def _could_be_thousands(digits: str, power: str) -> bool:
    """Whether the one mark may stand before decimals or before thousands, as in 1,234."""
    return not power and re.fullmatch(r"[1-9][0-9]{0,2}[.,][0-9]{3}", digits) is not None


def _with_point(digits: str) -> str:
    """Digits without separators between thousands and with a point before the decimals."""
    for mark, other in ((",", r"\."), (r"\.", ",")):
        if re.fullmatch(rf"[0-9]{{1,3}}({other}[0-9]{{3}})+{mark}[0-9]*", digits):  # 1.234,5
            return digits.replace(other[-1], "").replace(mark[-1], ".")
        if re.fullmatch(rf"[0-9]{{1,3}}({other}[0-9]{{3}}){{2,}}", digits):  # 1.234.567
            return digits.replace(other[-1], "")
    if digits.count(",") + digits.count(".") <= 1 and any(digit.isdigit() for digit in digits):
        return digits.replace(",", ".")
    raise ValueError(NO_NUMBER)


def _clear_mark(cell: str) -> str:
    """The character before the decimals of a number if there can be no doubt, else ""."""
    text = _THOUSANDS.sub(" ", cell.replace("\u2212", "-"))
    found = _NUMBER.fullmatch(text.replace(" ", ""))
    if found is None or ("," not in text and "." not in text):
        return ""
    digits = found[2]
    if " " not in text and _could_be_thousands(digits, found[3] or ""):
        return ""
    last = "," if digits.rfind(",") > digits.rfind(".") else "."
    return last if digits.count(last) == 1 else ",.".replace(last, "")  # 1.234.567: the other one would separate decimals


def read_time(value: Any) -> datetime | None:
    """The time in a cell, as ISO 8601 or as a spreadsheet shows a date; None for an empty one. Without a zone it is local.

    Raises
    ------
    ValueError
        If it is no time, or could be two; the message is what to give.
    """
    text = str(value or "").strip()
    if not text:
        return None
    try:
        when = _spreadsheet_time(text) or datetime.fromisoformat(text)
        return (when if when.tzinfo else when.astimezone()).astimezone(UTC)
    except _TwoDatesError as error:
        raise ValueError(f"that could be two dates; {_GIVE_TIME}") from error
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError(_GIVE_TIME) from error


_GIVE_TIME = "give a time such as 2026-03-01T14:05:00+01:00"


class _TwoDatesError(ValueError):
    """A date whose day and month could be exchanged."""


def _spreadsheet_time(text: str) -> datetime | None:
    """A date such as 13.03.2026 14:05 or 3/13/2026 2:05 PM; None if it is written in another way."""
    found = _DATE.fullmatch(text)
    if found is None:
        return None
    first, second, third = (int(found[n]) for n in (1, 3, 4))
    if len(found[1]) == 4:
        year, month, day = first, second, third
    elif len(found[4]) != 4:
        raise ValueError("a year has four digits")
    elif found[2] == "." or first > 12 or first == second:
        day, month, year = first, second, third
    elif second > 12:
        month, day, year = first, second, third
    else:
        raise _TwoDatesError
    hour, minute, second_s = int(found[5]), int(found[6]), int(found[7] or 0)
    if found[8]:
        if not 1 <= hour <= 12:
            raise ValueError("an hour before am or pm is 1 to 12")
        hour = hour % 12 + (12 if found[8].lower() == "p" else 0)
    return datetime(year, month, day, hour, minute, second_s)  # noqa: DTZ001 - by the local clock
