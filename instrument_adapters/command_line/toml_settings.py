"""Settings from a TOML file; an error names in one sentence the line, the key, its value and what is allowed."""

import math
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from instrument_adapters.command_line.allowed_values import allowed
from instrument_adapters.command_line.toml_lines import LineNumbers, find_line, find_lines
from instrument_adapters.errors import AdapterError, plain_reason

_M = TypeVar("_M", bound=BaseModel)
_BYTES_MAX = 1 << 20


class SettingsError(AdapterError, ValueError):
    """A settings file cannot be read or used."""


def load_settings(path: Path, model: type[_M]) -> _M:
    """Settings in the file, validated as a `model`.

    Raises
    ------
    SettingsError
        If the file is missing or not TOML, or holds a key or a value that is not allowed.
    """
    values, lines = _read(path)
    _refuse_not_finite(values, path, lines)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the file"
        message = allowed(first["msg"])
        problem = "is missing" if first["type"] == "missing" else f"is {str(first['input'])[:80]!r}: {message}"
        if first["type"] == "extra_forbidden":
            problem = f"is unknown; allowed here are {', '.join(_keys(model, first['loc']))}"
        raise SettingsError(f"{_location(path, lines, first['loc'])}'{key}' {problem}") from error


def _read(path: Path) -> tuple[dict[str, Any], LineNumbers]:
    try:
        if path.stat().st_size > _BYTES_MAX:
            raise SettingsError(f"{path} has more than {_BYTES_MAX} bytes; is it a settings file?")
        text = path.read_text(encoding="utf-8-sig")  # Notepad on Windows may write a byte-order mark
        return tomllib.loads(text), find_lines(text)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"the settings file {path} cannot be read: {plain_reason(error)}; give a TOML file in UTF-8"
        ) from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"the settings file {path} is not valid TOML: {error}") from error
    except ValueError as error:  # a number of thousands of digits
        raise SettingsError(f"the settings file {path} has a value that cannot be read: {error}") from error


def _refuse_not_finite(value: Any, path: Path, lines: LineNumbers, loc: tuple[str | int, ...] = ()) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        key = ".".join(str(part) for part in loc)
        raise SettingsError(f"{_location(path, lines, loc)}'{key}' is {value}: it must be a finite number")
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inner:
        _refuse_not_finite(part, path, lines, (*loc, name))


def _location(path: Path, lines: LineNumbers, loc: tuple[str | int, ...]) -> str:
    """File and line of a value, as the beginning of a message."""
    line = find_line(lines, loc)
    return f"{path}, line {line}: " if line else f"{path}: "


def _keys(model: Any, loc: tuple[int | str, ...]) -> list[str]:
    for part in loc[:-1]:
        model = model.model_fields[part].annotation
    return list(model.model_fields)
