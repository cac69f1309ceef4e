"""What all messages of the wire are made of."""

import re
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from instrument_adapters.geometry import Finite

PROTOCOL_VERSION = 2

ID_PATTERN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}$")
Id = Annotated[str, Field(pattern=ID_PATTERN.pattern)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")]
Unit = Annotated[str, Field(max_length=16)]
_LONGEST = 2000
Sentence = Annotated[str, Field(max_length=_LONGEST)]
# A real note holds keys of 64 characters and, for flattened images, lists of several thousand.
Note = dict[Annotated[str, Field(max_length=256)], Annotated[str, Field(max_length=65_536)] | Finite]


def as_sentence(text: str) -> str:
    """A text that may quote anything, such as a file's name that is no text, as one that the wire can carry."""
    return text.encode("utf-8", "replace").decode()[:_LONGEST]


class Wire(BaseModel):
    """Base of everything that crosses the wire: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class ArraySpec(Wire):
    """One raw frame: its name, its little-endian dtype and its shape."""

    name: Name
    dtype: Literal["<f4", "<f8"]
    shape: tuple[Annotated[int, Field(ge=0, le=1 << 24)], ...] = Field(min_length=1, max_length=4)

    @property
    def nbytes(self) -> int:
        """Size in bytes that the frame must have."""
        size = int(self.dtype[2:])
        for side in self.shape:
            size *= side
        return size


class Message(Wire):
    """What every message carries.

    Parameters
    ----------
    version
        Protocol version; a receiver refuses any other.
    id
        Names this message; a repeated message keeps its id.
    sent_at
        Wall time of the sender, with its zone.
    arrays
        The raw frames that follow the header, in order.
    """

    version: Literal[2] = 2
    id: Id
    sent_at: AwareDatetime
    arrays: tuple[ArraySpec, ...] = Field(default=(), max_length=16)
