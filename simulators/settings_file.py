"""A simulated instrument out of a TOML file: a tier first, the file's values over it, the command line's over both.

The file holds any part of `MFP3DConfig`, each of its parts as a table of the same name, and the name of the `tier`. A surface is
put under the frame, and made large enough for it, where nothing else is said.
"""

import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from instrument_adapters.command_line.toml_lines import line_of, toml_lines
from instrument_adapters.geometry import Frame
from simulators.config import MFP3DConfig
from simulators.errors import InvalidSettingsError, UnknownTierError
from simulators.tiers import tier

TIER = "tier"
DEFAULT_TIER = "easy"
_MARGIN = 1.2  # side of the surface over that of the frame
_Values = Mapping[str, Any]


def load_instrument(path: Path | None, given: _Values | None = None) -> MFP3DConfig:
    """The instrument that the file (or none) and `given`, which counts for more, describe.

    Parameters
    ----------
    path
        A TOML file.
    given
        Values as they would stand in the file.

    Raises
    ------
    InvalidSettingsError
        With one sentence that names the key, what it holds and what is allowed.
    """
    from_file = _read(path) if path is not None else {}
    values = dict(_over(from_file, given or {}))
    _refuse_not_finite(values)
    name = values.pop(TIER, DEFAULT_TIER)
    if not isinstance(name, str):
        raise InvalidSettingsError(f"'{TIER}' is {name!r}: it must be the name of a tier in quotes, such as \"clean\"")
    try:
        merged = dict(_over(tier(name, 0).model_dump(), values))
        if isinstance(merged["surface"], Mapping):
            fitted = _under_the_frame(merged["frame"], merged["surface"], values.get("surface", {}))
            merged["surface"] = {**merged["surface"], **fitted}
        return MFP3DConfig.model_validate(merged)
    except UnknownTierError as error:
        raise InvalidSettingsError(f"'{TIER}' is {name!r}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidSettingsError(_sentence(first, path if _holds(from_file, first["loc"]) else None)) from error


def as_toml(config: MFP3DConfig) -> str:
    """The configuration as a file that `load_instrument` reads back to the same; what is None is left out."""
    return "\n".join(_lines("", config.model_dump(mode="json"))).lstrip("\n") + "\n"


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' Notepad may put a byte-order mark in front
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettingsError(f"the configuration {path} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettingsError(f"the configuration {path} is not TOML: {error}") from error


def _over(below: _Values, above: _Values) -> dict[str, Any]:
    """The values above, and those below where there are none; tables are merged."""
    merged = {**below, **above}
    for key, value in below.items():
        if isinstance(value, Mapping) and isinstance(merged[key], Mapping):
            merged[key] = _over(value, merged[key])
    return merged


def _under_the_frame(frame: Any, surface: _Values, said: _Values) -> dict[str, Any]:
    """Centre and side of a surface that holds the frame, but for what was said of them."""
    try:
        held = Frame.model_validate(frame)
    except ValidationError:
        return {}  # refused with its reason when the whole is validated
    turned = abs(math.cos(held.angle_rad)) + abs(math.sin(held.angle_rad))
    side_m = _MARGIN * turned * max(held.size_fast_m, held.size_slow_m)
    fits = {"centre_x_m": held.x_offset_m, "centre_y_m": held.y_offset_m, "size_m": side_m}
    if "size_m" not in said:
        fits["size_m"] = max(surface["size_m"], side_m)
    return {key: value for key, value in fits.items() if key not in said}


def _refuse_not_finite(value: Any, key: str = "") -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidSettingsError(f"'{key}' is {value}: it must be a finite number")
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, part in inner:
        _refuse_not_finite(part, f"{key}.{name}".lstrip("."))


def _holds(values: Any, loc: tuple[int | str, ...]) -> bool:
    """Whether the file says anything of the place of an error; an error of a whole part is of all that it says there."""
    for part in loc:
        if not isinstance(values, Mapping) or part not in values:
            return False
        values = values[part]
    return bool(loc)


def _sentence(error: ErrorDetails, path: Path | None) -> str:
    loc = error["loc"]
    key = f"{_place(path, loc)}'{'.'.join(str(part) for part in loc)}'"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return f"{key} is unknown; the allowed keys are {', '.join(_keys_beside(loc))}"
    if error["type"] == "model_type":
        return f"{key} is {error['input']!r}: it must be a table, [{'.'.join(str(part) for part in loc)}]"
    if isinstance(error["input"], Mapping | BaseModel):
        return f"{key}: {message}" if loc else message
    return f"{key} is {error['input']!r}: {message}"


def _place(path: Path | None, loc: tuple[int | str, ...]) -> str:
    """Where a value stands in the file, to begin a sentence with; empty if it is not from a file."""
    if path is None:
        return ""
    line = line_of(toml_lines(path.read_text(encoding="utf-8-sig")), loc)
    return f"{path}, line {line}: " if line else f"{path}: "


def _keys_beside(loc: tuple[int | str, ...]) -> list[str]:
    model: Any = MFP3DConfig
    for part in loc[:-1]:
        model = model.model_fields[part].annotation
    return [*model.model_fields, *([TIER] if model is MFP3DConfig else [])]


def _lines(table: str, values: _Values) -> Iterator[str]:
    """Of one table: first its own values, then its tables."""
    inner = {key: value for key, value in values.items() if isinstance(value, Mapping)}
    own = {key: value for key, value in values.items() if key not in inner and value is not None}
    if table and own:
        yield f"\n[{table}]"
    yield from (f"{key} = {_literal(value)}" for key, value in own.items())
    for key, value in inner.items():
        yield from _lines(f"{table}.{key}".lstrip("."), value)


def _literal(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_literal(one) for one in value)}]"
    return json.dumps(value, ensure_ascii=False)  # numbers, words and truth values read the same in TOML
