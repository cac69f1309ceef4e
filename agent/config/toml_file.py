"""Reads a TOML file into a model, or says in which lines it is wrong, what is allowed there and what was probably meant."""

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
from instrument_adapters.command_line.toml_lines import Lines, line_of, toml_lines

_MOST_TOLD = 5
_LONGEST_VALUE = 200
_Loc = tuple[str | int, ...]
_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True)
class TomlFile:
    """What a file holds and where.

    Parameters
    ----------
    path
        None stands for no file.
    values
        As `tomllib` reads them.
    lines
        Of each value.
    """

    path: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)
    lines: Lines = field(default_factory=dict)

    @staticmethod
    def read(path: Path) -> "TomlFile":
        """The file at `path`.

        Raises
        ------
        ConfigError
            If it cannot be read or is not TOML.
        """
        try:
            text = path.read_text(encoding="utf-8-sig")  # Windows' Notepad may put a byte-order mark in front
            return TomlFile(path, tomllib.loads(text), toml_lines(text))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"the configuration {path} cannot be read: {error}") from error
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError(f"the configuration {path} is not TOML: {error}") from error
        except ValueError as error:  # a number of thousands of digits
            raise ConfigError(f"the configuration {path} holds a value that cannot be read: {error}") from error

    def place(self, loc: _Loc) -> str:
        """Where a value stands, to begin a sentence with; empty if the file does not hold it."""
        line = line_of(self.lines, loc)
        if self.path is None or line is None:
            return ""
        return f"{self.path}, line {line}: "


def validated(model: type[_M], file: TomlFile, given: Mapping[str, Any]) -> _M:
    """The model that a file describes, with `given`, from the command line, put over its top-level values.

    Raises
    ------
    ConfigError
        With a line for each value that is wrong: where it stands, what it is and what is allowed.
    """
    try:
        found = model.model_validate({**file.values, **given})
    except ValidationError as error:
        raise ConfigError(_wrong(error, model, file, given)) from error
    infinite = [
        (file if loc[0] not in given else TomlFile()).place(loc) + f"{_key(loc)} is {value}: it must be a finite number"
        for loc, value in _not_finite(found.model_dump())
    ]
    if infinite:
        raise ConfigError(_joined(infinite[:_MOST_TOLD], len(infinite)))
    return found


def _wrong(error: ValidationError, model: type[BaseModel], file: TomlFile, given: Mapping[str, Any]) -> str:
    """A line for each of the first values that are wrong, in the file's order; before them what does not stand in it."""
    errors = error.errors(include_url=False)
    around = {details["loc"][:end] for details in errors for end in range(len(details["loc"]))}
    placed = []
    for details in errors:
        loc = details["loc"]
        if loc not in around:  # a list whose entry is wrong is found to be too short as well
            inside = TomlFile() if loc and loc[0] in given else file
            placed.append((line_of(inside.lines, loc) or 0, inside.place(loc), details))
    placed.sort(key=lambda one: one[0])
    return _joined([place + _sentence(details, model) for _, place, details in placed[:_MOST_TOLD]], len(placed))


def _joined(sentences: Sequence[str], found: int) -> str:
    more = found - len(sentences)
    return "\n".join([*sentences, *([f"and {more} more"] if more else [])])


def _key(loc: _Loc) -> str:
    return f"'{'.'.join(str(part) for part in loc)}'"


def _sentence(error: ErrorDetails, model: type[BaseModel]) -> str:
    loc, value = error["loc"], error["input"]
    if error["type"] == "extra_forbidden":
        return f"{_key(loc)} is unknown; {_what_is_known(loc, model)}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] in ("model_type", "model_attributes_type"):
        message = f"it must be a table, [{'.'.join(str(part) for part in loc)}]"
    if isinstance(value, Mapping | BaseModel):
        return f"{_key(loc)}: {message}" if loc else message
    shown = repr(value)
    return f"{_key(loc)} is {shown if len(shown) <= _LONGEST_VALUE else shown[:_LONGEST_VALUE] + '...'}: {message}"


def _what_is_known(loc: _Loc, model: type[BaseModel]) -> str:
    """What was probably meant by an unknown key, and all keys that there are."""
    unknown = str(loc[-1])
    beside = list(_model_at(loc[:-1], model).model_fields)
    listed = f"the allowed keys are {', '.join(beside)}"
    (nearest,) = difflib.get_close_matches(unknown, beside, n=1) or [""]
    elsewhere = [name for name, table in _tables(model) if unknown in table.model_fields and (name,) != loc[:-1]]
    if nearest:
        return f"did you mean '{nearest}'? {listed}"
    if elsewhere:
        return f"it belongs into [{elsewhere[0]}]; {listed}"
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
    """Numbers that JSON cannot say: the history records the configuration."""
    if isinstance(value, float) and not math.isfinite(value):
        yield loc, value
    inner = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list | tuple) else ()
    for key, part in inner:
        yield from _not_finite(part, (*loc, key))
