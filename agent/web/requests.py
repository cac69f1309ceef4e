"""What a person may say over HTTP; anything else is refused before it reaches the agent."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from instrument_adapters.geometry import Finite
from instrument_adapters.protocol.messages import Id, Name, Sentence


class Said(BaseModel):
    """Base of all bodies: immutable, unknown keys refused. `by`: who says it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Name
    reason: Sentence = ""


class Order(Said):
    """Pause, resume or stop; `instrument_id` None means all instruments."""

    instrument_id: Id | None = None


class _OfADecision(Said):
    """`instrument_id`: needed only where two instruments have a decision of one name."""

    decision_id: Id
    instrument_id: Id | None = None


class Approval(_OfADecision):
    """Let the points of a decision be measured.

    Parameters
    ----------
    drop
        Request ids that are not to be measured.
    move
        Request id -> new x and y in metres.
    """

    drop: tuple[Id, ...] = Field(default=(), max_length=10_000)
    move: dict[Id, tuple[Finite, Finite]] = Field(default_factory=dict, max_length=10_000)


class Rejection(_OfADecision):
    """Have none of a decision's points measured."""

    reason: Annotated[Sentence, Field(min_length=1)]
