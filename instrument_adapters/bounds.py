"""What the numbers of a message can be: bounds in physics, far wider than any instrument, checked where a message comes or goes.

The bounds keep out what no instrument can mean and what arithmetic cannot carry: a position of 1e308 m, a scan that ended in the
year 9999. Limits of an instrument (`Limits`) and settings are much narrower. The bounds are part of the fields' types, but only
`impossible_value` enforces them, so that a history or a spool of an earlier version can still be read.
"""

import functools
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema


@dataclass(frozen=True)
class Within:
    """Smallest and largest possible value of a field; in a list or an object, of each element."""

    low: float | datetime
    high: float | datetime

    def allows(self, value: float | datetime) -> bool:
        """Whether a value lies within the bounds; NaN does not."""
        return bool(self.low <= value <= self.high)  # type: ignore[operator]

    def __str__(self) -> str:
        return f"{_written(self.low)} to {_written(self.high)}"

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """The field's JSON schema with these bounds."""
        found = dict(handler(schema))
        if found.get("exclusiveMinimum") != self.low:
            found.pop("exclusiveMinimum", None)
            found["minimum"] = _in_json(self.low)
        return found | {"maximum": _in_json(self.high)}


EARLIEST, LATEST = datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
LENGTH = Within(-1.0, 1.0)  # metres
NUMBER = Within(-1e30, 1e30)  # its square is still far from overflow
DATE = Within(EARLIEST, LATEST)

Metres = Annotated[float, Field(allow_inf_nan=False), LENGTH]
Distance = Annotated[float, Field(ge=0, allow_inf_nan=False), Within(0.0, 1.0)]
Radius = Annotated[float, Field(gt=0, allow_inf_nan=False), Within(0.0, 1.0)]
Side = Annotated[float, Field(gt=0, allow_inf_nan=False), Within(1e-12, 1.0)]
Angle = Annotated[float, Field(allow_inf_nan=False), Within(-100.0, 100.0)]
Volts = Annotated[float, Field(gt=0, allow_inf_nan=False), Within(0.0, 1000.0)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False), Within(0.0, 1e8)]
Number = Annotated[float, Field(allow_inf_nan=False), NUMBER]
Count = Annotated[int, Field(ge=0), Within(0, 10**9)]
Sequence = Annotated[int, Field(ge=1), Within(1, 10**9)]
Pixel = Annotated[int, Field(ge=0), Within(0, 65535)]
Time = Annotated[AwareDatetime, DATE]
Expiry = Annotated[AwareDatetime, Within(EARLIEST, datetime(2300, 1, 1, tzinfo=UTC))]


def impossible_value(model: BaseModel) -> str:
    """Sentence on the first value outside the bounds of its field, in the model or in a part of it; empty if there is none."""
    for name, value, within in _bounded(model, ""):
        if not within.allows(value):
            return f"{name} is {_written(value)}, which cannot be: {within} is possible; correct it at the sender"
    return ""


def _bounded(model: BaseModel, path: str) -> Iterable[tuple[str, float | datetime, Within]]:
    """(name, value, bounds) of each bounded value of a model and its parts."""
    bounds = _bounds_of(type(model))
    for name in type(model).model_fields:
        value, within = getattr(model, name), bounds.get(name)
        parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, tuple) else [("", value)]
        for key, part in parts:
            where = f"{path}{name}{f'.{key}' if key != '' else ''}"
            if isinstance(part, BaseModel):
                yield from _bounded(part, f"{where}.")
            elif within is not None and part is not None:
                yield where, part, within


@functools.cache
def _bounds_of(model: type[BaseModel]) -> Mapping[str, Within]:
    """Field -> its bounds, for the bounded fields of a model."""
    found = {name: _in_annotation([*info.metadata, info.annotation]) for name, info in model.model_fields.items()}
    return {name: within for name, within in found.items() if within is not None}


def _in_annotation(parts: Iterable[Any]) -> Within | None:
    """The bounds that stand somewhere in an annotation, such as in `dict[str, Number]` or `Metres | None`."""
    for part in parts:
        within = part if isinstance(part, Within) else _in_annotation(typing.get_args(part))
        if within is not None:
            return within
    return None


def _in_json(value: float | datetime) -> float | str:
    return _written(value) if isinstance(value, datetime) else value


def _written(value: float | datetime) -> str:
    if isinstance(value, datetime):
        return value.isoformat().removesuffix("T00:00:00+00:00")
    if isinstance(value, int):
        return str(value) if abs(value) < 10**18 else f"an integer of {value.bit_length()} bits"
    return f"{value:g}"
