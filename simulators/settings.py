"""Base class and number types of all configurations in this package."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]


class Settings(BaseModel):
    """Immutable configuration; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
