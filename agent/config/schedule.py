"""What may be told about when things are done."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class ScheduleSettings(BaseModel):
    """When searches end for a newer scan, what is done while nothing waits, and how often the service looks after itself.

    Parameters
    ----------
    when_newer
        What becomes of a search when a newer scan of its instrument comes in: "cancel" gives it up; "finish" has it decided
        first, for the record and as a start for the next one, and sends nothing of it.
    deep
        Whether a scan is searched again, with more effort, while nothing waits.
    idle_after_s
        Seconds after its decision from which on it is.
    deep_seeds
        Models of each configuration in that search, if that is more than `search.seeds`.
    deep_steps_factor
        Its optimiser steps, in `train.steps`.
    poke_s
        Seconds between two looks at what waits, in case that a wake-up was lost.
    watch_s
        Seconds between two looks at the computer's clock: a step of it would hold up all that is done at intervals.
    reap_s
        Seconds between two removals of what earlier agents of this run left behind.
    retention_s
        Seconds between two removals of what need not be kept any longer.
    health_s
        Seconds between two looks at disk and history, after each of which freed memory is given back.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    when_newer: Literal["cancel", "finish"] = "cancel"
    deep: bool = False
    idle_after_s: float = Field(default=60.0, ge=0)
    deep_seeds: int = Field(default=6, ge=1, le=100)
    deep_steps_factor: float = Field(default=2.0, ge=1, le=100)
    poke_s: float = Field(default=10.0, gt=0)
    watch_s: float = Field(default=1.0, gt=0)
    reap_s: float = Field(default=600.0, gt=0)
    retention_s: float = Field(default=86400.0, gt=0)
    health_s: float = Field(default=60.0, gt=0)
