"""Callbacks: what a connection calls when a message arrives, and how events are reported to the user."""

import logging
from typing import Protocol

from instrument_adapters.protocol.messages import Ack, CommandMessage, RecommendationMessage, Refused, Snapshot, Welcome


class ReportEvent(Protocol):
    """Reports an event: its name, a sentence for people, its log level, and facts for programs."""

    def __call__(self, event: str, sentence: str, level: int = logging.INFO, **facts: object) -> None:
        """Log the event and pass it on."""


class Listener(Protocol):
    """Called by a `Connection`, always in the event loop's thread; methods that are not coroutines return at once."""

    @property
    def report(self) -> ReportEvent:
        """Function that reports events to the user."""

    @property
    def seq(self) -> int:
        """Last sequence number without a gap before it."""

    async def on_welcome(self, message: Welcome) -> None:
        """The agent has accepted this instrument, for the first time or again."""

    async def on_snapshot(self, snapshot: Snapshot) -> None:
        """The agent has sent its snapshot, because a message was missing here."""

    def on_answer(self, message_id: str, answer: Ack | Refused, attempts: int) -> None:
        """A posted message was answered after `attempts` attempts of this process."""

    def on_recommendation(self, message: RecommendationMessage) -> bool | None:
        """True if the recommendation was known, False if it has now been recorded.

        None if it was not accepted because a message before it is missing.
        """

    async def on_command(self, message: CommandMessage) -> bool | None:
        """True if this command or a newer one was known, False if it has now been recorded and obeyed.

        None if it was not accepted because it lifts a restriction and a message before it is missing.
        """
