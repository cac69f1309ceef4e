"""Operator commands (pause, resume, stop): recorded with name and reason, numbered for each instrument, repeated until obeyed."""

from collections.abc import Sequence

from agent.errors import ControlError
from agent.ledger.command_state import ALL_INSTRUMENTS, Command, Order
from agent.ledger.entries import POLICY
from agent.ledger.recorder import Recorder
from agent.schema import event_kinds as kinds
from instrument_adapters.protocol import messages as wire
from instrument_adapters.protocol.holds import HELD, hold_id


class Commands:
    """Commands to instruments.

    Parameters
    ----------
    recorder
        Records each command before it is sent.
    run_id
        Identifier of the run; part of the message ids, since an instrument may have obeyed commands of another run.
    pause_after_unfit
        Number of consecutive unusable scans after which the instrument is paused; 0: never.
    """

    def __init__(self, recorder: Recorder, run_id: str, pause_after_unfit: int) -> None:
        self._recorder, self._run_id, self._pause_after_unfit = recorder, run_id, pause_after_unfit
        self._ledger = recorder.ledger

    def give(self, order: Order, by: str, reason: str, instrument_id: str | None = None) -> Sequence[str]:
        """Record a command; returns the instruments that it is sent to.

        `instrument_id` None means all instruments, including those that connect later. A pause does not weaken an emergency stop:
        it is not sent to stopped instruments.

        Raises
        ------
        ControlError
            If the instrument does not exist, or is to be paused although it is stopped.
        """
        command_state, known = self._ledger.command_state, sorted(self._ledger.instruments)
        if instrument_id is not None and instrument_id not in known:
            raise ControlError(
                f"there is no instrument '{instrument_id}' in this run; known instruments: {', '.join(known) or 'none yet'}"
            )
        names = known if instrument_id is None else [instrument_id]
        if order == "pause":
            names = [name for name in names if command_state.state(name) != "stopped"]
            if instrument_id is not None and not names:
                raise ControlError(
                    f"'{instrument_id}' cannot be paused: it was {command_state.reason(instrument_id)}; resume it first"
                )
        self._record(order, by, reason, instrument_id, names)
        return names

    def apply_to_newcomer(self, instrument_id: str) -> None:
        """Give an instrument without commands the last command to all, if that was a pause or a stop."""
        command_state = self._ledger.command_state
        if (
            instrument_id not in command_state.commands
            and command_state.for_all is not None
            and command_state.for_all.order != "resume"
        ):
            order = command_state.for_all
            self._record(order.order, order.by, order.reason, instrument_id, [instrument_id])

    def pause_on_alarm(self, instrument_id: str) -> None:
        """Pause an instrument that has an alarm or too many consecutive unusable scans, so that an operator can check it."""
        reason = self._ledger.alarms.get(instrument_id, "")
        unfit = self._ledger.unusable_scans.get(instrument_id, [])
        if self._pause_after_unfit and len(unfit) >= self._pause_after_unfit:
            reason = reason or f"{len(unfit)} consecutive scans were unusable, the last because {unfit[-1]}"
        if reason and self._ledger.command_state.state(instrument_id) == "running":
            self._record("pause", POLICY, reason[:2000], instrument_id, [instrument_id])

    def take_over(self, instrument_id: str, report: wire.TroubleMessage) -> bool:
        """Take over a pause or stop that an instrument still obeys and that is not in this history; True if it was not.

        That is the case after the agent came back on a copy of its run, or on another run. From then on the instrument is paused
        or stopped here, too, until an operator resumes it, knowing of it.
        """
        order: Order = "stop" if report.event == HELD["stopped"] else "pause"
        command_state = self._ledger.command_state
        if any(self._is_report_of(report.id, command) for command in command_state.holds.get(instrument_id, ())):
            return False
        if order == "pause" and command_state.state(instrument_id) == "stopped":
            return False
        reason = f"the instrument still obeys what this history does not hold: {report.sentence}"
        self._record(order, POLICY, reason[:2000], instrument_id, [instrument_id], held=report.id)
        return True

    def _is_report_of(self, report_id: str, command: Command) -> bool:
        who = f"{command.by}: {command.reason}" if command.reason else command.by
        by_command, by_snapshot = (hold_id(self._run_id, command.seq, text[:2000]) for text in (who, command.sentence))
        return report_id in (command.held, by_command, by_snapshot)

    def unacknowledged(self, instrument_id: str) -> wire.CommandMessage | None:
        """The newest command of an instrument, unless acknowledged. A repeated command has the same message id."""
        command = self._ledger.command_state.unacknowledged(instrument_id)
        if command is None:
            return None
        return wire.CommandMessage(
            id=self._id(command.seq),
            sent_at=self._recorder.now(),
            seq=command.seq,
            command=command.order,
            by=command.by,
            reason=command.reason,
        )

    def on_ack(self, instrument_id: str, of: str | None, refused: str = "") -> bool:
        """Record that the open command was acknowledged, so that it is not repeated; False if `of` names another message."""
        command = self._ledger.command_state.unacknowledged(instrument_id)
        if command is None or of != self._id(command.seq):
            return False
        body = {"instrument_id": instrument_id, "seq": command.seq, "command": command.order}
        self._recorder.record(kinds.COMMAND_ACKNOWLEDGED, instrument_id, body | ({"refused": refused} if refused else {}))
        return True

    def _record(self, order: Order, by: str, reason: str, instrument_id: str | None, names: Sequence[str], **facts: str) -> None:
        seqs = {name: self._ledger.command_state.next_seq(name) for name in names}
        body = {"instrument_id": instrument_id, "command": order, "by": by, "reason": reason, "seqs": seqs} | facts
        self._recorder.record(kinds.COMMAND_GIVEN, instrument_id or ALL_INSTRUMENTS, body)

    def _id(self, seq: int) -> str:
        return f"command-{self._run_id}-{seq}"
