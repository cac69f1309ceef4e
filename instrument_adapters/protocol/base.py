"""Base classes and field types of all messages on the wire."""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from instrument_adapters.bounds import Time
from instrument_adapters.geometry import Finite

PROTOCOL_VERSION = 2

ID_PATTERN = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,95}$")
Id = Annotated[str, Field(pattern=ID_PATTERN.pattern)]
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")]
Unit = Annotated[str, Field(max_length=16)]
_SENTENCE_MAX = 2000
Sentence = Annotated[str, Field(max_length=_SENTENCE_MAX)]
# A real note has keys of 64 characters and, for flattened images, values of several thousand characters.
Note = dict[Annotated[str, Field(max_length=256)], Annotated[str, Field(max_length=65_536)] | Finite]


def as_sentence(text: str) -> str:
    """The text as the wire allows it: invalid characters (as in some file names) replaced, cut to the allowed length."""
    return text.encode("utf-8", "replace").decode()[:_SENTENCE_MAX]


class Wire(BaseModel):
    """Base of everything that crosses the wire: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class ArraySpec(Wire):
    """Description of one raw frame: its name, its little-endian dtype and its shape."""

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
    """Fields of every message.

    Parameters
    ----------
    version
        Protocol version; a receiver refuses any other.
    id
        Unique id of the message; a repetition keeps it.
    sent_at
        Time by the sender's wall clock, with its zone.
    arrays
        Raw frames that follow the header, in order.
    """

    version: Literal[2] = 2
    id: Id
    sent_at: Time
    arrays: tuple[ArraySpec, ...] = Field(default=(), max_length=16)
