"""Where an instrument stands with its agent: how far it has followed, and what a person lets it do. Pure; no clock, no disk.

The agent numbers what it tells an instrument. A command that holds it back is obeyed at once, whatever was lost before it; what
lets it go on, a recommendation as well, waits until nothing before it is missing, since that might be a stop.
"""

from typing import Annotated

from pydantic import Field

from instrument_adapters.protocol.messages import CommandMessage, Sentence, Snapshot, State, Wire

_Number = Annotated[int, Field(ge=0)]
_STRICTNESS: tuple[State, ...] = ("running", "paused", "stopped")
_AFTER: dict[str, State] = {"pause": "paused", "resume": "running", "stop": "stopped"}


class CommandState(Wire):
    """What is known; kept in the spool.

    Parameters
    ----------
    run_id
        The run of the agent that the numbers belong to; None before the first welcome.
    seq
        Everything up to this number has been taken, or replaced by something newer.
    command_seq, plan_seq, stop_seq
        Number of the newest command, of the newest recommendation and of the newest emergency stop that were taken.
    state, who
        What the instrument may do; who said so and why ("Ada: lunch").
    barred
        After an emergency stop, why points of the scans before it are not measured; "" from the next scan on.
    """

    run_id: str | None = None
    seq: _Number = 0
    command_seq: _Number = 0
    plan_seq: _Number = 0
    stop_seq: _Number = 0
    state: State = "running"
    who: Sentence = ""
    barred: Sentence = ""

    @property
    def sentence(self) -> str:
        """What holds the instrument, for results and for people; "" while nothing does."""
        if self.state == "stopped":
            return _stop_by(self.who)
        return f"paused by {self.who or 'somebody'}"[:2000] if self.state == "paused" else ""

    def knows(self, command: CommandMessage) -> bool:
        """Whether a command was taken before, or a newer one was."""
        return command.seq <= self.command_seq

    def must_wait(self, command: CommandMessage) -> bool:
        """Whether a command lets go on although something before it is missing."""
        lets_go = _STRICTNESS.index(_AFTER[command.command]) < _STRICTNESS.index(self.state)
        return lets_go and self.misses_before(command.seq)

    def after(self, command: CommandMessage) -> "CommandState":
        """Where it stands when a new command has been taken; words before it may still be missing."""
        who = f"{command.by}: {command.reason}" if command.reason else command.by
        followed = command.seq if command.seq == self.seq + 1 else self.seq
        stop_seq = command.seq if command.command == "stop" else self.stop_seq
        return self._in(_AFTER[command.command], who[:2000], seq=followed, command_seq=command.seq, stop_seq=stop_seq)

    def misses_before(self, seq: int) -> bool:
        """Whether something is missing before number `seq`."""
        return seq > self.seq + 1

    def joined(self, snapshot: Snapshot, run_id: str) -> "CommandState":
        """Where it stands when the agent has said where things stand.

        In the run that it belongs to, a newer word of the agent holds. An agent that knows of less than was taken here, in a new
        run or one put back from a copy, numbers anew from where it stands, and cannot lift a pause or a stop in that way:
        it has to say so by a command.
        """
        same = self.run_id in (None, run_id)
        newer = same and snapshot.seq > self.command_seq
        missed = same and snapshot.stop_seq > self.stop_seq
        numbers = {
            "run_id": run_id,
            "seq": snapshot.seq,
            "command_seq": snapshot.seq,
            "stop_seq": snapshot.stop_seq,
            "plan_seq": min(self.plan_seq, snapshot.seq) if same else 0,
        } | ({"barred": "an emergency stop came while the agent was away"} if missed else {})
        if newer or _STRICTNESS.index(snapshot.state) > _STRICTNESS.index(self.state):
            return self._in(snapshot.state, snapshot.state_reason, **numbers)
        return self.model_copy(update=numbers)

    def recommended(self, seq: int) -> "CommandState":
        """Where it stands when recommendation number `seq` has been taken; nothing is missing before it."""
        return self.model_copy(update={"seq": max(self.seq, seq), "plan_seq": max(self.plan_seq, seq)})

    def scanned(self) -> "CommandState":
        """Where it stands with a new scan: its points may be measured."""
        return self.model_copy(update={"barred": ""})

    def _in(self, state: State, who: str, **numbers: object) -> "CommandState":
        barred = {"barred": _stop_by(who)} if state == "stopped" else {}
        return self.model_copy(update={"state": state, "who": who, **barred, **numbers})


def _stop_by(who: str) -> str:
    return f"emergency stop by {who or 'somebody'}"[:2000]
