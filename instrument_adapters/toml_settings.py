"""Settings out of a TOML file, each mistake in one sentence that names the key, what it holds and what is allowed."""

import math
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

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
    values = _read(path)
    _refuse_not_finite(values, path)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the whole"
        message = first["msg"].removeprefix("Value error, ")
        said = "is missing" if first["type"] == "missing" else f"is {str(first['input'])[:80]!r}: {message}"
        if first["type"] == "extra_forbidden":
            said = f"is unknown; allowed here are {', '.join(_keys(model, first['loc']))}"
        raise SettingsError(f"'{key}' in {path} {said}") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _BYTES_MAX:
            raise SettingsError(f"{path} has more than {_BYTES_MAX} bytes; is it a settings file?")
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' Notepad may put a byte-order mark in front
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the settings {path} cannot be read: {error}") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"the settings {path} are not TOML: {error}") from error
    except ValueError as error:  # a number of thousands of digits
        raise SettingsError(f"the settings {path} hold a value that cannot be read: {error}") from error


def _refuse_not_finite(value: Any, path: Path, key: str = "") -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise SettingsError(f"'{key}' in {path} is {value}: it must be a finite number")
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in inner:
        _refuse_not_finite(part, path, f"{key}.{name}".lstrip("."))


def _keys(model: Any, loc: tuple[int | str, ...]) -> list[str]:
    for part in loc[:-1]:
        model = model.model_fields[part].annotation
    return list(model.model_fields)
