"""Who is told what a link hears, and who is told what a person may want to know."""

import logging
from typing import Protocol

from instrument_adapters.protocol.messages import Ack, CommandMessage, RecommendationMessage, Refused, Snapshot, Welcome


class Tell(Protocol):
    """Called with the name of an event, a sentence for a person, its weight in the log, and facts for programs."""

    def __call__(self, event: str, sentence: str, level: int = logging.INFO, **facts: object) -> None:
        """Log it."""


class Listener(Protocol):
    """Called by a `Link`, always in the event loop's thread; what is not a coroutine returns at once."""

    @property
    def tell(self) -> Tell:
        """Who is told what a person may want to know."""

    @property
    def seq(self) -> int:
        """Number of the last recommendation or command that came in order."""

    async def welcomed(self, message: Welcome) -> None:
        """The agent has accepted this instrument, for the first time or again."""

    async def situated(self, snapshot: Snapshot) -> None:
        """The agent has said where things stand, since something was missing."""

    def answered(self, message_id: str, answer: Ack | Refused, attempts: int) -> None:
        """A posted message was answered, after so many attempts of this process."""

    def recommended(self, message: RecommendationMessage) -> bool | None:
        """True if this recommendation was known already, False if it has been recorded when the call returns.

        None if it was not taken, since something before it is missing.
        """

    async def commanded(self, message: CommandMessage) -> bool | None:
        """True if this command was known or a newer one was; False if it has been recorded and obeyed when the call returns.

        None if it was not taken, since it lets go on and something before it is missing.
        """
