"""Sequence number, last command and resulting state of each instrument.

Like the ledger, this is computed from the history, so that a restarted agent keeps a stopped instrument stopped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from agent.history.event_log import Event
from agent.schema.event_kinds import COMMAND_ACKNOWLEDGED, COMMAND_GIVEN, RECOMMENDATION_READY
from instrument_adapters.protocol.messages import State

ALL_INSTRUMENTS = "all"  # subject of the event of a command to all instruments

Order = Literal["pause", "resume", "stop"]
_RESULTING_STATE: Mapping[Order, State] = {"pause": "paused", "resume": "running", "stop": "stopped"}


@dataclass(frozen=True)
class Command:
    """A command to an instrument, given by an operator or by policy.

    Parameters
    ----------
    seq
        Sequence number among the recommendations and commands to the instrument; 0 for a command given to all instruments before
        this one was known.
    order
        Command: "pause", "resume" or "stop".
    by, reason
        Name of the operator (or "policy"), and the reason given.
    acknowledged
        Whether the instrument has acknowledged the command, or refused it.
    refused
        Why the instrument has refused the command; empty if it has not.
    held
        Id of the report by which the instrument named a pause or stop that this command takes over; empty for any other command.
    """

    seq: int
    order: Order
    by: str
    reason: str
    acknowledged: bool = False
    refused: str = ""
    held: str = ""

    @property
    def sentence(self) -> str:
        """What was done, by whom and why, in words."""
        action = {"pause": "paused", "resume": "resumed", "stop": "stopped in an emergency"}[self.order]
        return f"{action} by {self.by}" + (f": {self.reason}" if self.reason else "")


@dataclass
class CommandState:
    """Newest command and last sequence number of each instrument; changed only by `apply`."""

    last_seqs: dict[str, int] = field(default_factory=dict)
    commands: dict[str, Command] = field(default_factory=dict)
    stop_seqs: dict[str, int] = field(default_factory=dict)  # sequence number of the last emergency stop
    holds: dict[str, list[Command]] = field(default_factory=dict)  # all pauses and stops, for what an instrument may still obey
    for_all: Command | None = None

    def apply(self, event: Event) -> None:
        """Update the state with the next event; other event kinds are ignored."""
        body = event.body
        if event.kind == COMMAND_GIVEN:
            for name, seq in body["seqs"].items():
                self.last_seqs[name] = seq
                self.commands[name] = command = Command(
                    seq, body["command"], body["by"], body["reason"], held=body.get("held", "")
                )
                if command.order != "resume":
                    self.holds.setdefault(name, []).append(command)
                if body["command"] == "stop":
                    self.stop_seqs[name] = seq
            if body["instrument_id"] is None and not self._would_undo_stop(body["command"]):
                self.for_all = Command(0, body["command"], body["by"], body["reason"])
        elif event.kind == COMMAND_ACKNOWLEDGED:
            command = self.commands[event.subject]
            if command.seq == body["seq"]:
                self.commands[event.subject] = replace(command, acknowledged=True, refused=body.get("refused", ""))
        elif event.kind == RECOMMENDATION_READY:
            self.last_seqs[body["instrument_id"]] = body["seq"]

    def next_seq(self, instrument_id: str) -> int:
        """Sequence number of the next recommendation or command to an instrument."""
        return self.last_seqs.get(instrument_id, 0) + 1

    def state(self, instrument_id: str) -> State:
        """State of an instrument. Without a command of its own, the last command to all instruments counts."""
        command = self.last(instrument_id)
        return "running" if command is None else _RESULTING_STATE[command.order]

    def reason(self, instrument_id: str) -> str:
        """Why the instrument is in its state; empty if no command was given."""
        command = self.last(instrument_id)
        return "" if command is None else command.sentence

    def last(self, instrument_id: str) -> Command | None:
        """The newest command that applies to an instrument, or None."""
        return self.commands.get(instrument_id, self.for_all)

    def unacknowledged(self, instrument_id: str) -> Command | None:
        """The newest command to an instrument if it is not acknowledged yet; superseded commands are not repeated."""
        command = self.commands.get(instrument_id)
        return None if command is None or command.acknowledged else command

    def _would_undo_stop(self, order: str) -> bool:
        """Whether a pause of all instruments would replace an emergency stop, which it must not."""
        return order == "pause" and self.for_all is not None and self.for_all.order == "stop"
