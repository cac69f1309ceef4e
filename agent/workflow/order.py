"""Tables in one order, whoever wrote them: what is named after them, or added up over them, must not depend on it."""

from typing import Any


def in_order(value: Any) -> Any:
    """The same value with the keys of all tables in it sorted."""
    if isinstance(value, dict):
        return {key: in_order(value[key]) for key in sorted(value)}
    return [in_order(v) for v in value] if isinstance(value, list) else value
