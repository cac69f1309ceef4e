"""Training of VAEs: [train]. Separate from the code that trains, so that reading a configuration does not load PyTorch."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class TrainSettings(BaseModel):
    """Training of a VAE.

    Parameters
    ----------
    steps
        Number of optimiser steps, which determines quality and cost; epochs are not counted.
    batch_size
        Number of patches in each step.
    learning_rate
        Peak learning rate of the one-cycle schedule. At 1.5 times the default, some seeds get stuck at large windows.
    held_out
        Share of the patches that is not trained on, from which the held-out ELBO is computed.
    most_patches
        Largest number of patches trained on, spread evenly over the scan; all patches are encoded.
    device
        "cuda" (a GPU), "cpu", or "auto": a GPU if there is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(default=800, ge=1)
    batch_size: int = Field(default=64, ge=1)
    learning_rate: float = Field(default=16e-3, gt=0, le=1)
    held_out: float = Field(default=0.1, gt=0, lt=1)
    most_patches: int = Field(default=16384, ge=64)
    device: Literal["auto", "cpu", "cuda"] = "auto"
