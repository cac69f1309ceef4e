"""Reads the configuration of a simulated instrument: a tier, overridden by a TOML file, overridden by the command line.

The file may set any part of `MFP3DConfig`, with a table of the same name for each part, and the name of the `tier`. Unless
specified otherwise, the surface is centred under the frame and made large enough for it.
"""

import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from instrument_adapters.command_line.allowed_values import allowed
from instrument_adapters.command_line.toml_lines import find_line, find_lines
from instrument_adapters.errors import plain_reason
from instrument_adapters.geometry import Frame
from simulators.config import MFP3DConfig
from simulators.errors import InvalidSettingsError, UnknownTierError
from simulators.tiers import tier

TIER = "tier"
DEFAULT_TIER = "easy"
_MARGIN = 1.2  # side of the surface over that of the frame
_Values = Mapping[str, Any]


def load_instrument(path: Path | None, given: _Values | None = None) -> MFP3DConfig:
    """Configuration from a file and from `given`, which takes precedence.

    Parameters
    ----------
    path
        Path of a TOML file; None for no file.
    given
        Values in the structure of the file.

    Raises
    ------
    InvalidSettingsError
        If a value is invalid; the message names the key, its value and what is allowed.
    """
    from_file = _read(path) if path is not None else {}
    values = dict(_merged(from_file, given or {}))
    _refuse_not_finite(values)
    name = values.pop(TIER, DEFAULT_TIER)
    if not isinstance(name, str):
        raise InvalidSettingsError(f"'{TIER}' is {name!r}: it must be the name of a tier in quotes, for example \"clean\"")
    try:
        merged = dict(_merged(tier(name, 0).model_dump(), values))
        if isinstance(merged["surface"], Mapping):
            fitted = _fitted_to_frame(merged["frame"], merged["surface"], values.get("surface", {}))
            merged["surface"] = {**merged["surface"], **fitted}
        return MFP3DConfig.model_validate(merged)
    except UnknownTierError as error:
        raise InvalidSettingsError(f"'{TIER}' is {name!r}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InvalidSettingsError(_error_message(first, path if _is_in_file(from_file, first["loc"]) else None)) from error


def as_toml(config: MFP3DConfig) -> str:
    """The configuration as TOML text, from which `load_instrument` restores it; values that are None are omitted."""
    return "\n".join(_lines("", config.model_dump(mode="json"))).lstrip("\n") + "\n"


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' Notepad may put a byte-order mark in front
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettingsError(
            f"the configuration {path} cannot be read: {plain_reason(error)}; give a TOML file in UTF-8"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidSettingsError(f"the configuration {path} is not TOML: {error}") from error


def _merged(base: _Values, overrides: _Values) -> dict[str, Any]:
    """`base` with the values of `overrides`; tables are merged."""
    merged = {**base, **overrides}
    for key, value in base.items():
        if isinstance(value, Mapping) and isinstance(merged[key], Mapping):
            merged[key] = _merged(value, merged[key])
    return merged


def _fitted_to_frame(frame: Any, surface: _Values, specified: _Values) -> dict[str, Any]:
    """Centre and side of a surface that contains the frame, except where they are `specified`."""
    try:
        inner = Frame.model_validate(frame)
    except ValidationError:
        return {}  # the error is reported when the whole configuration is validated
    turned = abs(math.cos(inner.angle_rad)) + abs(math.sin(inner.angle_rad))
    side_m = _MARGIN * turned * max(inner.size_fast_m, inner.size_slow_m)
    fitted = {"centre_x_m": inner.x_offset_m, "centre_y_m": inner.y_offset_m, "size_m": side_m}
    if "size_m" not in specified:
        fitted["size_m"] = max(surface["size_m"], side_m)
    return {key: value for key, value in fitted.items() if key not in specified}


def _refuse_not_finite(value: Any, key: str = "") -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidSettingsError(f"'{key}' is {value}: it must be a finite number")
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for name, part in inner:
        _refuse_not_finite(part, f"{key}.{name}".lstrip("."))


def _is_in_file(values: Any, loc: tuple[int | str, ...]) -> bool:
    """Whether the file sets the key (or any key of the table) to which an error refers."""
    for part in loc:
        if not isinstance(values, Mapping) or part not in values:
            return False
        values = values[part]
    return bool(loc)


def _error_message(error: ErrorDetails, path: Path | None) -> str:
    loc = error["loc"]
    key = f"{_location(path, loc)}'{'.'.join(str(part) for part in loc)}'"
    message = allowed(error["msg"])
    if error["type"] == "extra_forbidden":
        return f"{key} is unknown; the allowed keys are {', '.join(_keys_beside(loc))}"
    if error["type"] == "model_type":
        return f"{key} is {error['input']!r}: it must be a table, [{'.'.join(str(part) for part in loc)}]"
    if isinstance(error["input"], Mapping | BaseModel):
        return f"{key}: {message}" if loc else message
    return f"{key} is {error['input']!r}: {message}"


def _location(path: Path | None, loc: tuple[int | str, ...]) -> str:
    """File and line of a value as the beginning of a message; empty if the value does not come from a file."""
    if path is None:
        return ""
    line = find_line(find_lines(path.read_text(encoding="utf-8-sig")), loc)
    return f"{path}, line {line}: " if line else f"{path}: "


def _keys_beside(loc: tuple[int | str, ...]) -> list[str]:
    model: Any = MFP3DConfig
    for part in loc[:-1]:
        model = model.model_fields[part].annotation
    return [*model.model_fields, *([TIER] if model is MFP3DConfig else [])]


def _lines(table: str, values: _Values) -> Iterator[str]:
    """TOML lines of one table: first its own values, then its subtables."""
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
    return json.dumps(value, ensure_ascii=False)  # numbers, strings and booleans are written the same in TOML
