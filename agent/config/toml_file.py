"""Reads a TOML file into a pydantic model; errors name the line, what is allowed there, and the key that was probably meant."""

import difflib
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from agent.errors import ConfigError
from instrument_adapters.command_line.allowed_values import allowed
from instrument_adapters.command_line.toml_lines import LineNumbers, find_line, find_lines
from instrument_adapters.errors import plain_reason

_MAX_ERRORS = 5
_MAX_VALUE_CHARS = 200
_Loc = tuple[str | int, ...]
_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True)
class TomlFile:
    """Content of a TOML file, with line numbers.

    Parameters
    ----------
    path
        Path of the file; None if there is no file.
    values
        Content as read by `tomllib`.
    lines
        Line number of each value.
    """

    path: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    lines: LineNumbers = field(default_factory=dict)

    @staticmethod
    def read(path: Path) -> "TomlFile":
        """Read the file at `path`.

        Raises
        ------
        ConfigError
            If it cannot be read or is not TOML.
        """
        try:
            text = path.read_text(encoding="utf-8-sig")  # Windows Notepad may write a byte-order mark
            return TomlFile(path, tomllib.loads(text), find_lines(text))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"the configuration {path} cannot be read: {plain_reason(error)}; give a TOML file in UTF-8"
            ) from error
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"the configuration {path} is not TOML: {error}") from error
        except ValueError as error:  # a number of thousands of digits
            raise ConfigError(f"the configuration {path} holds a value that cannot be read: {error}") from error

    def location(self, loc: _Loc) -> str:
        """Prefix of an error message with the line of a value; empty if the value is not from the file."""
        line = find_line(self.lines, loc)
        if self.path is None or line is None:
            return ""
        return f"{self.path}, line {line}: "


def validated(model: type[_M], file: TomlFile, overrides: Mapping[str, Any]) -> _M:
    """Validate the content of a file, with top-level `overrides` from the command line, as a model.

    Raises
    ------
    ConfigError
        If values are invalid; the message has one line for each: where it is, what it is and what is allowed.
    """
    try:
        found = model.model_validate({**file.values, **overrides})
    except ValidationError as error:
        raise ConfigError(_messages(error, model, file, overrides)) from error
    infinite = [
        (file if loc[0] not in overrides else TomlFile()).location(loc) + f"{_key(loc)} is {value}: it must be a finite number"
        for loc, value in _not_finite(found.model_dump())
    ]
    if infinite:
        raise ConfigError(_joined(infinite[:_MAX_ERRORS], len(infinite)))
    return found


def _messages(error: ValidationError, model: type[BaseModel], file: TomlFile, overrides: Mapping[str, Any]) -> str:
    """One line for each of the first errors, in the order of the file; values from the command line come first."""
    errors = error.errors(include_url=False)
    containers = {details["loc"][:end] for details in errors for end in range(len(details["loc"]))}
    located = []
    for details in errors:
        loc = details["loc"]
        if loc not in containers:  # pydantic also reports a list with an invalid entry as too short
            source = TomlFile() if loc and loc[0] in overrides else file
            located.append((find_line(source.lines, loc) or 0, source.location(loc), details))
    located.sort(key=lambda entry: entry[0])
    return _joined([location + _sentence(details, model) for _, location, details in located[:_MAX_ERRORS]], len(located))


def _joined(sentences: Sequence[str], total: int) -> str:
    more = total - len(sentences)
    return "\n".join([*sentences, *([f"and {more} more"] if more else [])])


def _key(loc: _Loc) -> str:
    return f"'{'.'.join(str(part) for part in loc)}'"


def _sentence(error: ErrorDetails, model: type[BaseModel]) -> str:
    loc, value = error["loc"], error["input"]
    if error["type"] == "extra_forbidden":
        return f"{_key(loc)} is unknown; {_suggestion(loc, model)}"
    message = allowed(error["msg"])
    if error["type"] in ("model_type", "model_attributes_type"):
        message = f"it must be a table, [{'.'.join(str(part) for part in loc)}]"
    if isinstance(value, Mapping | BaseModel):
        return f"{_key(loc)}: {message}" if loc else message
    shown = repr(value)
    return f"{_key(loc)} is {shown if len(shown) <= _MAX_VALUE_CHARS else shown[:_MAX_VALUE_CHARS] + '...'}: {message}"


def _suggestion(loc: _Loc, model: type[BaseModel]) -> str:
    """The key that was probably meant by an unknown one, and all keys that are allowed."""
    unknown = str(loc[-1])
    allowed = list(_model_at(loc[:-1], model).model_fields)
    listed = f"the allowed keys are {', '.join(allowed)}"
    (nearest,) = difflib.get_close_matches(unknown, allowed, n=1) or [""]
    elsewhere = [name for name, table in _tables(model) if unknown in table.model_fields and (name,) != loc[:-1]]
    if nearest:
        return f"did you mean '{nearest}'? {listed}"
    if elsewhere:
        return f"it belongs in [{elsewhere[0]}]; {listed}"
    return listed


def _model_at(loc: _Loc, model: type[BaseModel]) -> type[BaseModel]:
    for part in loc:
        inner = model.model_fields[str(part)].annotation
        assert isinstance(inner, type)
        model = inner
    return model


def _tables(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, BaseModel):
            yield name, info.annotation


def _not_finite(value: Any, loc: _Loc = ()) -> Iterator[tuple[_Loc, float]]:
    """Values that are infinite or NaN, which JSON cannot represent: the history records the configuration."""
    if isinstance(value, float) and not math.isfinite(value):
        yield loc, value
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, part in inner:
        yield from _not_finite(part, (*loc, key))
