"""What all sections of the configuration share: immutability, single values for lists, tables in one order."""

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


def in_order(value: Any) -> Any:
    """The same value with the keys of all its tables sorted: no identifier or sum may depend on their order in a file."""
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return [in_order(v) for v in value] if isinstance(value, list) else value


#: A list that a single value may stand for.
OneOrMore = BeforeValidator(lambda value: (value,) if isinstance(value, str | int | float) else value)


class Section(BaseModel):
    """Base of all parts of the configuration: immutable, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def without_repeats(value: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same values.

    Raises
    ------
    ValueError
        If one occurs twice.
    """
    if len(set(value)) != len(value):
        raise ValueError("holds a value twice")
    return value
