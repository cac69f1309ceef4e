"""How long arrays of a history are kept: [retention]."""

from pydantic import BaseModel, ConfigDict, Field


class RetentionSettings(BaseModel):
    """Which old arrays may be removed. By default all are kept; an array on which a decision depends is never removed.

    Parameters
    ----------
    keep_days
        Age in days below which the arrays of an event are kept in any case.
    keep_latents
        Whether the latents of all candidates are kept; those of the chosen candidate always are.
    keep_weights
        Whether weights are kept from which no decision started and none can start any more.
    keep_orphans_days
        Age in days at which array files are removed that belong to no event, such as those written just before a crash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep_days: float = Field(default=30.0, ge=0)
    keep_latents: bool = True
    keep_weights: bool = True
    keep_orphans_days: float = Field(default=1.0, ge=1)
