"""What instruments have been told to do: the numbers of the words, the commands, and the states that these put them in.

A fold over the history, as the ledger is, so that a restarted agent keeps an instrument stopped.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from agent.history.event_log import Event
from agent.schema.event_kinds import COMMAND_ACKNOWLEDGED, COMMAND_GIVEN, RECOMMENDATION_READY
from instrument_adapters.protocol.messages import State

EVERYBODY = "all"  # subject of a command for all instruments

Order = Literal["pause", "resume", "stop"]
_LEADS_TO: Mapping[Order, State] = {"pause": "paused", "resume": "running", "stop": "stopped"}


@dataclass(frozen=True)
class Command:
    """One thing that an instrument has been told by a person, or by policy.

    Parameters
    ----------
    seq
        Its number among all that the instrument is told to do; 0 in what was said to all before the instrument was known.
    order
        What is to be done.
    by, reason
        Who said so, and why.
    acknowledged
        Whether the instrument has obeyed.
    """

    seq: int
    order: Order
    by: str
    reason: str
    acknowledged: bool = False

    @property
    def sentence(self) -> str:
        """Who did what, and why."""
        did = {"pause": "paused", "resume": "resumed", "stop": "stopped in an emergency"}[self.order]
        return f"{did} by {self.by}" + (f": {self.reason}" if self.reason else "")


@dataclass
class CommandState:
    """The newest command and the last number of each instrument; `apply` is the only way to change it."""

    numbers: dict[str, int] = field(default_factory=dict)
    commands: dict[str, Command] = field(default_factory=dict)
    stops: dict[str, int] = field(default_factory=dict)  # number of the last emergency stop
    everybody: Command | None = None

    def apply(self, event: Event) -> None:
        """Take one event into account; kinds that change nothing are passed over."""
        body = event.body
        if event.kind == COMMAND_GIVEN:
            for name, seq in body["seqs"].items():
                self.numbers[name] = seq
                self.commands[name] = Command(seq, body["command"], body["by"], body["reason"])
                if body["command"] == "stop":
                    self.stops[name] = seq
            if body["instrument_id"] is None and not self._weakens(body["command"]):
                self.everybody = Command(0, body["command"], body["by"], body["reason"])
        elif event.kind == COMMAND_ACKNOWLEDGED:
            command = self.commands[event.subject]
            if command.seq == body["seq"]:
                self.commands[event.subject] = replace(command, acknowledged=True)
        elif event.kind == RECOMMENDATION_READY:
            self.numbers[body["instrument_id"]] = body["seq"]

    def next_number(self, instrument_id: str) -> int:
        """Of what the instrument is told next."""
        return self.numbers.get(instrument_id, 0) + 1

    def state(self, instrument_id: str) -> State:
        """What an instrument may do; of one that was never told anything itself, what all were told."""
        command = self.last(instrument_id)
        return "running" if command is None else _LEADS_TO[command.order]

    def reason(self, instrument_id: str) -> str:
        """Who said so, and why; empty where nobody said anything."""
        command = self.last(instrument_id)
        return "" if command is None else command.sentence

    def last(self, instrument_id: str) -> Command | None:
        """The newest command that holds for an instrument."""
        return self.commands.get(instrument_id, self.everybody)

    def unacknowledged(self, instrument_id: str) -> Command | None:
        """The newest command for an instrument, unless it has obeyed; what a newer one has replaced is not said again."""
        command = self.commands.get(instrument_id)
        return None if command is None or command.acknowledged else command

    def _weakens(self, order: str) -> bool:
        """A pause does not undo an emergency stop."""
        return order == "pause" and self.everybody is not None and self.everybody.order == "stop"
