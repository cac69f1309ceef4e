"""What may be told about how long arrays are kept."""

from pydantic import BaseModel, ConfigDict, Field


class RetentionSettings(BaseModel):
    """Which arrays may go once they are old, of those on which nothing rests. By default everything is kept.

    Parameters
    ----------
    keep_days
        Arrays of younger events stay in any case.
    keep_latents
        Whether the latents of all candidates stay; those of the chosen one always do.
    keep_weights
        Whether weights stay that no decision went on from, and none can any more.
    keep_orphans_days
        Array files that belong to no event (written before a crash) go after so many days.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    keep_days: float = Field(default=30.0, ge=0)
    keep_latents: bool = True
    keep_weights: bool = True
    keep_orphans_days: float = Field(default=1.0, ge=1)
