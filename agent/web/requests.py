"""Bodies of the operator's HTTP requests; anything else is refused before it reaches the agent."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from instrument_adapters.geometry import Finite
from instrument_adapters.protocol.messages import Id, Name, Sentence


class OperatorRequest(BaseModel):
    """Base of all bodies: immutable, unknown keys refused. `by` is the name of the operator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    by: Name
    reason: Sentence = ""


class CommandRequest(OperatorRequest):
    """Pause, resume or emergency stop. `instrument_id` None means all instruments."""

    instrument_id: Id | None = None


class _DecisionRequest(OperatorRequest):
    """Base of approval and rejection. `instrument_id` is needed only where two instruments have decisions of the same id."""

    decision_id: Id
    instrument_id: Id | None = None


class ApprovalRequest(_DecisionRequest):
    """Approve a decision, as it is or edited.

    Parameters
    ----------
    drop
        Ids of the requests to leave out.
    move
        Request id -> new position (x, y) in metres.
    """

    drop: tuple[Id, ...] = Field(default=(), max_length=10_000)
    move: dict[Id, tuple[Finite, Finite]] = Field(default_factory=dict, max_length=10_000)


class RejectionRequest(_DecisionRequest):
    """Reject a decision: none of its points is measured."""

    reason: Annotated[Sentence, Field(min_length=1)]
