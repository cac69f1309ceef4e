"""Who is told what a link hears, and who is told what a person may want to know."""

import logging
from typing import Protocol

from instrument_adapters.messages import Ack, RecommendationMessage, Refused, Welcome


class Tell(Protocol):
    """Called with the name of an event, a sentence for a person, its weight in the log, and facts for programs."""

    def __call__(self, event: str, sentence: str, level: int = logging.INFO, **facts: object) -> None:
        """Log it."""


class Listener(Protocol):
    """Called by a `Link`, always in the event loop's thread; returns at once."""

    @property
    def tell(self) -> Tell:
        """Who is told what a person may want to know."""

    def welcomed(self, message: Welcome) -> None:
        """The agent has accepted this instrument, for the first time or again."""

    def answered(self, message_id: str, answer: Ack | Refused, attempts: int) -> None:
        """A posted message was answered, after so many attempts of this process."""

    def recommended(self, message: RecommendationMessage) -> bool:
        """True if this recommendation was known already; it has been recorded when the call returns."""
