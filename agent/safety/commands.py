"""Pause, resume, stop: recorded with who and why, numbered for each instrument, and repeated until obeyed."""

from collections.abc import Sequence

from agent.errors import ControlError
from agent.ledger.command_state import EVERYBODY, Order
from agent.ledger.entries import POLICY
from agent.ledger.recorder import Recorder
from agent.schema import event_kinds as kinds
from instrument_adapters.protocol import messages as wire


class Commands:
    """What instruments are told to do besides measuring.

    Parameters
    ----------
    recorder
        Writes down each command before it is sent.
    run_id
        In the ids of the messages: an instrument may have obeyed another run before.
    pause_after_unfit
        So many unfit scans in a row pause their instrument; 0: never.
    """

    def __init__(self, recorder: Recorder, run_id: str, pause_after_unfit: int) -> None:
        self._recorder, self._run_id, self._pause_after_unfit = recorder, run_id, pause_after_unfit
        self._ledger = recorder.ledger

    def give(self, order: Order, by: str, reason: str, instrument_id: str | None = None) -> Sequence[str]:
        """The instruments that are told so, once it is recorded; None means all, also those that connect later.

        A pause does not weaken an emergency stop: who is stopped is not told of it.

        Raises
        ------
        ControlError
            If there is no such instrument, or it is stopped and is to be paused.
        """
        standing, known = self._ledger.standing, sorted(self._ledger.told)
        if instrument_id is not None and instrument_id not in known:
            raise ControlError(
                f"there is no instrument '{instrument_id}' in this run; known are {', '.join(known) or 'none yet'}"
            )
        names = known if instrument_id is None else [instrument_id]
        if order == "pause":
            names = [name for name in names if standing.state(name) != "stopped"]
            if instrument_id is not None and not names:
                raise ControlError(
                    f"'{instrument_id}' cannot be paused: it was {standing.reason(instrument_id)}; resume it first"
                )
        self._record(order, by, reason, instrument_id, names)
        return names

    def introduce(self, instrument_id: str) -> None:
        """Tell an instrument that has never been told anything what all were told before it came."""
        standing = self._ledger.standing
        if instrument_id not in standing.commands and standing.everybody is not None and standing.everybody.order != "resume":
            order = standing.everybody
            self._record(order.order, order.by, order.reason, instrument_id, [instrument_id])

    def heed_alarms(self, instrument_id: str) -> None:
        """Pause an instrument of which something is known that a person should look at first."""
        reason = self._ledger.alarms.get(instrument_id, "")
        unfit = self._ledger.unfit.get(instrument_id, [])
        if self._pause_after_unfit and len(unfit) >= self._pause_after_unfit:
            reason = reason or f"{len(unfit)} scans in a row were not fit for a decision, the last because {unfit[-1]}"
        if reason and self._ledger.standing.state(instrument_id) == "running":
            self._record("pause", POLICY, reason[:2000], instrument_id, [instrument_id])

    def open(self, instrument_id: str) -> wire.CommandMessage | None:
        """The newest command for an instrument, unless it has obeyed. A repeated one has the same id."""
        command = self._ledger.standing.unacknowledged(instrument_id)
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

    def answered(self, instrument_id: str, of: str | None, refused: str = "") -> bool:
        """Whether an answer was to the open command; then it is recorded, and the command is not repeated."""
        command = self._ledger.standing.unacknowledged(instrument_id)
        if command is None or of != self._id(command.seq):
            return False
        body = {"instrument_id": instrument_id, "seq": command.seq, "command": command.order}
        self._recorder.record(kinds.COMMAND_ACKNOWLEDGED, instrument_id, body | ({"refused": refused} if refused else {}))
        return True

    def _record(self, order: Order, by: str, reason: str, instrument_id: str | None, names: Sequence[str]) -> None:
        seqs = {name: self._ledger.standing.next_number(name) for name in names}
        body = {"instrument_id": instrument_id, "command": order, "by": by, "reason": reason, "seqs": seqs}
        self._recorder.record(kinds.COMMAND_GIVEN, instrument_id or EVERYBODY, body)

    def _id(self, seq: int) -> str:
        return f"command-{self._run_id}-{seq}"
