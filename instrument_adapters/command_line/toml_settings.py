"""Settings out of a TOML file, each mistake in one sentence that names the line, the key, what it holds and what is allowed."""

import math
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from instrument_adapters.command_line.toml_lines import Lines, line_of, toml_lines
from instrument_adapters.errors import AdapterError

_M = TypeVar("_M", bound=BaseModel)
_BYTES_MAX = 1 << 20


class SettingsError(AdapterError, ValueError):
    """A settings file cannot be read or used."""


def load_settings(path: Path, model: type[_M]) -> _M:
    """What the file says, as a `model`.

    Raises
    ------
    SettingsError
        If the file is missing or no TOML, or holds a key or a value that is not allowed.
    """
    values, lines = _read(path)
    _refuse_not_finite(values, path, lines)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole"
        message = first["msg"].removeprefix("Value error, ")
        said = "is missing" if first["type"] == "missing" else f"is {str(first['input'])[:80]!r}: {message}"
        if first["type"] == "extra_forbidden":
            said = f"is unknown; allowed here are {', '.join(_keys(model, first['loc']))}"
        raise SettingsError(f"{_place(path, lines, first['loc'])}'{key}' {said}") from error


def _read(path: Path) -> tuple[dict[str, Any], Lines]:
    try:
        if path.stat().st_size > _BYTES_MAX:
            raise SettingsError(f"{path} has more than {_BYTES_MAX} bytes; is it a settings file?")
        text = path.read_text(encoding="utf-8-sig")  # Windows' Notepad may put a byte-order mark in front
        return tomllib.loads(text), toml_lines(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings {path} cannot be read: {error}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"the settings {path} are not TOML: {error}") from error
    except ValueError as error:  # a number of thousands of digits
        raise SettingsError(f"the settings {path} hold a value that cannot be read: {error}") from error


def _refuse_not_finite(value: Any, path: Path, lines: Lines, loc: tuple[str | int, ...] = ()) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        key = ".".join(str(part) for part in loc)
        raise SettingsError(f"{_place(path, lines, loc)}'{key}' is {value}: it must be a finite number")
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inner:
        _refuse_not_finite(part, path, lines, (*loc, name))


def _place(path: Path, lines: Lines, loc: tuple[str | int, ...]) -> str:
    """Where a value stands, to begin a sentence with."""
    line = line_of(lines, loc)
    return f"{path}, line {line}: " if line else f"{path}: "


def _keys(model: Any, loc: tuple[int | str, ...]) -> list[str]:
    for part in loc[:-1]:
        model = model.model_fields[part].annotation
    return list(model.model_fields)
