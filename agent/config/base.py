"""Base class and validators that the sections of the configuration share."""

from typing import Any

from pydantic import BaseModel, BeforeValidator, ConfigDict


def in_order(value: Any) -> Any:
    """The same value with the keys of all its tables sorted, so that neither decision ids nor sums depend on their order."""
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return [in_order(v) for v in value] if isinstance(value, list) else value


#: Annotation of a list for which a single value may be given.
OneOrMore = BeforeValidator(lambda value: (value,) if isinstance(value, str | int | float) else value)


class Section(BaseModel):
    """Base of sections of the configuration: immutable, unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def without_repeats(value: tuple[Any, ...]) -> tuple[Any, ...]:
    """The same values, validated.

    Raises
    ------
    ValueError
        If a value occurs twice.
    """
    if len(set(value)) != len(value):
        raise ValueError("a value occurs twice; give each once")
    return value
