"""How much training a candidate gets, and where. Apart from `train`, so that a configuration is read without loading PyTorch."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainSettings(BaseModel):
    """How long, how fast and where.

    Parameters
    ----------
    steps
        Optimiser steps; they, not epochs, set the quality and the cost.
    batch_size
        Patches a step.
    learning_rate
        Peak of the one-cycle schedule; a half more leaves seeds behind at large windows.
    held_out
        Share of the patches that is not trained on and judges the ELBO.
    most_patches
        Of a scan with more key points, so many are trained on; all are encoded.
    device
        "auto": a GPU where there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=800, ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=16e-3, gt=0, le=1)
    held_out: float = Field(default=0.1, gt=0, lt=1)
    most_patches: int = Field(default=16384, ge=64)
    device: Literal["auto", "cpu", "cuda"] = "auto"
