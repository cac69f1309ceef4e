"""What the operator allows an instrument to do, and which sequence numbers it has seen. Pure: no clock, no disk.

The agent numbers its recommendations and commands. A command that restricts the instrument is obeyed at once, even if earlier
messages are missing. A command that lifts a restriction, and every recommendation, waits until nothing before it is missing: a
missing message might be a stop.

A pause or an emergency stop is lifted only by an agent that knows of it. An agent may come back on a copy of its run that was
made before the stop, or on another run, and its numbers say nothing about a stop that it never gave. So the hold has an identity
of its own beside the numbers. After each welcome that does not show this very hold, it is reported to the agent (`holds.HELD`),
and until the agent has acknowledged the report nothing lifts it.
"""

from typing import Annotated

from pydantic import Field

from instrument_adapters.protocol.holds import hold_id
from instrument_adapters.protocol.messages import CommandMessage, Sentence, Snapshot, State, Wire

_SequenceNumber = Annotated[int, Field(ge=0)]
_BY_STRICTNESS: tuple[State, ...] = ("running", "paused", "stopped")
_STATE_AFTER: dict[str, State] = {"pause": "paused", "resume": "running", "stop": "stopped"}


class CommandState(Wire):
    """Sequence numbers, last command and resulting state of this instrument; kept in the spool.

    Parameters
    ----------
    run_id
        Run of the agent that the sequence numbers belong to; None before the first welcome.
    seq
        Last sequence number without a gap before it: everything up to it has been accepted or superseded.
    command_seq, plan_seq, stop_seq
        Sequence numbers of the newest command, recommendation and emergency stop that were accepted.
    state, who
        State that the last command put the instrument into, and its author and reason ("Ada: lunch").
    barred
        Why points of earlier scans are not measured after an emergency stop; "" from the next scan on.
    hold_run, hold_seq
        Run and sequence number of the command that put the instrument into its present state, if that is a pause or a stop.
    hold_known
        Whether the agent that speaks now knows of that command; it cannot lift it otherwise.
    """

    run_id: str | None = None
    seq: _SequenceNumber = 0
    command_seq: _SequenceNumber = 0
    plan_seq: _SequenceNumber = 0
    stop_seq: _SequenceNumber = 0
    state: State = "running"
    who: Sentence = ""
    barred: Sentence = ""
    hold_run: str | None = None
    hold_seq: _SequenceNumber = 0
    hold_known: bool = True

    @property
    def hold_id(self) -> str:
        """Identity of the pause or stop that holds the instrument, by which an agent recognises it."""
        return hold_id(self.hold_run, self.hold_seq, self.who)

    @property
    def hold_sentence(self) -> str:
        """The hold for an agent that may not know of it: why the instrument is held, and where the command came from."""
        origin = f" (command {self.hold_seq} of {self.hold_run})" if self.hold_run else ""
        return f"{self.hold_reason[: 2000 - len(origin)]}{origin}"

    @property
    def hold_reason(self) -> str:
        """Why the instrument is held, for results and operators; "" while it may run."""
        if self.state == "stopped":
            return _stop_reason(self.who)
        return f"paused by {self.who or 'an unknown operator'}"[:2000] if self.state == "paused" else ""

    def is_outdated(self, command: CommandMessage) -> bool:
        """True if this command, or a newer one, was accepted before."""
        return command.seq <= self.command_seq

    def must_wait(self, command: CommandMessage) -> bool:
        """True if a command lifts a restriction that its agent may not know of, or although a message before it is missing."""
        lifts = _BY_STRICTNESS.index(_STATE_AFTER[command.command]) < _BY_STRICTNESS.index(self.state)
        return lifts and (not self.hold_known or self.has_gap_before(command.seq))

    def with_command(self, command: CommandMessage) -> "CommandState":
        """State after a new command; earlier messages may still be missing."""
        who = f"{command.by}: {command.reason}" if command.reason else command.by
        in_order = command.seq if command.seq == self.seq + 1 else self.seq
        stop_seq = command.seq if command.command == "stop" else self.stop_seq
        return self._with_state(
            _STATE_AFTER[command.command],
            who[:2000],
            seq=in_order,
            command_seq=command.seq,
            stop_seq=stop_seq,
            hold_run=self.run_id,
            hold_seq=command.seq,
        )

    def has_gap_before(self, seq: int) -> bool:
        """True if a message before sequence number `seq` is missing."""
        return seq > self.seq + 1

    def with_welcome(self, snapshot: Snapshot, run_id: str) -> "CommandState":
        """State after joining an agent, possibly another one than before: it knows of a hold only if it shows that very hold."""
        same_words = snapshot.state_reason == self.who or snapshot.state_reason.endswith(f"by {self.who}")
        number = snapshot.stop_seq if self.state == "stopped" else snapshot.seq
        shown = (run_id, number, snapshot.state) == (self.hold_run, self.hold_seq, self.state)
        known = self.state == "running" or (shown and same_words)
        return self.model_copy(update={"hold_known": known}).with_snapshot(snapshot, run_id)

    def with_hold_known(self) -> "CommandState":
        """State after the agent has recorded the report of the hold: from now on it may lift it."""
        return self.model_copy(update={"hold_known": True})

    def with_snapshot(self, snapshot: Snapshot, run_id: str) -> "CommandState":
        """State after a snapshot of the agent.

        Within the same run, a newer command of the agent prevails. An agent that knows of fewer messages than were accepted
        here (a new run, or a run restored from a backup) sets the sequence numbers anew, but cannot lift a pause or a stop in
        this way: that takes a command, after the agent has recorded the hold.
        """
        same = self.run_id in (None, run_id)
        newer = same and snapshot.seq > self.command_seq and self._may_lift(snapshot, run_id)
        missed = same and snapshot.stop_seq > self.stop_seq
        numbers = {
            "run_id": run_id,
            "seq": snapshot.seq,
            # The command that lifts the hold may still be on its way.
            "command_seq": snapshot.seq if self.hold_known or not same else min(self.command_seq, snapshot.seq),
            "stop_seq": snapshot.stop_seq,
            "plan_seq": min(self.plan_seq, snapshot.seq) if same else 0,
        } | ({"barred": "an emergency stop was given while this instrument was disconnected"} if missed else {})
        if newer or _BY_STRICTNESS.index(snapshot.state) > _BY_STRICTNESS.index(self.state):
            held = {"hold_run": run_id, "hold_seq": snapshot.stop_seq if snapshot.state == "stopped" else snapshot.seq}
            return self._with_state(snapshot.state, snapshot.state_reason, **numbers | held)
        return self.model_copy(update=numbers)

    def _may_lift(self, snapshot: Snapshot, run_id: str) -> bool:
        """Whether a snapshot comes from an agent in whose history the hold precedes it."""
        if self.state == "running":
            return True
        newest = snapshot.stop_seq if self.state == "stopped" else snapshot.seq
        return self.hold_known and self.hold_run in (None, run_id) and self.hold_seq <= newest

    def with_recommendation(self, seq: int) -> "CommandState":
        """State after recommendation number `seq`; nothing before it may be missing."""
        return self.model_copy(update={"seq": max(self.seq, seq), "plan_seq": max(self.plan_seq, seq)})

    def with_new_scan(self) -> "CommandState":
        """State after a new scan, whose points may be measured."""
        return self.model_copy(update={"barred": ""})

    def _with_state(self, state: State, who: str, **numbers: object) -> "CommandState":
        barred = {"barred": _stop_reason(who)} if state == "stopped" else {}
        return self.model_copy(update={"state": state, "who": who, "hold_known": True, **barred, **numbers})


def _stop_reason(who: str) -> str:
    return f"emergency stop by {who or 'an unknown operator'}"[:2000]
