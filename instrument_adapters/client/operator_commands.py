"""Operator commands (pause, resume, emergency stop), obeyed as soon as the agent sends them.

An emergency stop must not wait for anything. The instrument's `halt` therefore runs in a thread of its own, while the call that
it ends may still block the worker thread, and the event loop continues.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from instrument_adapters.client.listener import ReportEvent
from instrument_adapters.client.timings import ClientTimings
from instrument_adapters.errors import EmergencyStopError
from instrument_adapters.instrument import Halting, Instrument
from instrument_adapters.protocol.messages import CommandMessage, Snapshot
from instrument_adapters.spool.command_state import CommandState
from instrument_adapters.spool.spool import Spool


class OperatorCommands:
    """Records the operator's commands and carries them out.

    Parameters
    ----------
    instrument
        Instrument that an emergency stop halts, or closes if it cannot be halted.
    close
        Closes the instrument.
    spool
        Journal that keeps the command state.
    timings
        Pauses and time-outs.
    report
        Reports events to the user.
    on_change
        Called when the command state changes or `fault` is set.

    Attributes
    ----------
    call
        Call of the instrument in progress, which an emergency stop ends; None if there is none.
    instrument_used
        Whether the instrument has been called at all; otherwise there is nothing to stop.
    fault
        Why the client has to end: the instrument could only be stopped by closing it.
    """

    def __init__(
        self,
        instrument: Instrument,
        close: Callable[[], None],
        spool: Spool,
        timings: ClientTimings,
        report: ReportEvent,
        on_change: Callable[[], None],
    ) -> None:
        self._instrument, self._close, self._spool, self._timings = instrument, close, spool, timings
        self._report, self._on_change = report, on_change
        self._halt_watch: asyncio.Task[None] | None = None
        self.call: asyncio.Future[Any] | None = None
        self.instrument_used = False
        self.fault: EmergencyStopError | None = None

    async def accept(self, command: CommandMessage) -> bool | None:
        """True if this command or a newer one was known, False if it has now been recorded and obeyed.

        None if it was not accepted because it lifts a restriction and a message before it is missing.
        """
        if self._spool.command_state.is_outdated(command):
            return True
        if self._spool.command_state.must_wait(command):
            return None
        await self._change_state(lambda state: state.with_command(command))
        return False

    async def adopt(self, snapshot: Snapshot, run_id: str, *, joining: bool = False) -> None:
        """Adopt the agent's snapshot; `joining` if it came with a welcome, possibly of another agent than before."""
        await self._change_state(lambda s: s.with_welcome(snapshot, run_id) if joining else s.with_snapshot(snapshot, run_id))

    def cancel_watch(self) -> None:
        """Stop watching the call that an emergency stop has to end."""
        if self._halt_watch is not None:
            self._halt_watch.cancel()

    async def _change_state(self, change: Callable[[CommandState], CommandState]) -> None:
        present = self._spool.command_state
        if self._halt_watch is not None and present.state == "stopped" and change(present).state != "stopped":
            await asyncio.wait({self._halt_watch})  # a call that has not noticed the halt yet must not continue
        before, after = self._spool.change_command_state(change), self._spool.command_state
        if after.state == before.state:
            return
        if after.state == "stopped":
            self._report("emergency_stop", f"{after.hold_reason}: halting the instrument", logging.ERROR)
            await self._halt()
        else:
            if before.state == "stopped" and isinstance(self._instrument, Halting):
                self._instrument.release()
            sentence = after.hold_reason or f"resumed by {after.who or 'an unknown operator'}"
            self._report("paused" if after.state == "paused" else "told_to_resume", sentence, logging.WARNING)
        self._on_change()

    async def _halt(self) -> None:
        if not isinstance(self._instrument, Halting):
            if self.instrument_used:
                self._close_instrument("this instrument cannot be halted without closing it")
            return
        done = asyncio.Event()
        loop, faults = asyncio.get_running_loop(), list[Exception]()
        threading.Thread(target=self._call_halt, args=(self._instrument, loop, done, faults), name="halt", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timings.halt_s):
                await done.wait()
        self._halt_watch = asyncio.create_task(self._watch_halt(done, faults, self.call))
        await asyncio.sleep(0)  # lets a failed halt become known before the command is acknowledged

    @staticmethod
    def _call_halt(instrument: Halting, loop: asyncio.AbstractEventLoop, done: asyncio.Event, faults: list[Exception]) -> None:
        try:
            instrument.halt()
        except Exception as error:  # noqa: BLE001 - whatever a driver raises, the instrument has to come to rest
            faults.append(error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the client has ended, and closed the instrument
            loop.call_soon_threadsafe(done.set)

    async def _watch_halt(self, done: asyncio.Event, faults: list[Exception], call: asyncio.Future[Any] | None) -> None:
        """Close the instrument if halting it fails, or if the call in progress does not end."""
        try:
            async with asyncio.timeout(self._timings.halt_max_s):
                await done.wait()
                if call is not None and not faults:
                    await asyncio.wait({call})
        except TimeoutError:
            self._close_instrument(f"its call did not end within {self._timings.halt_max_s:g} s of the stop")
        if faults:
            self._close_instrument(f"halting it failed: {faults[0]}")

    def _close_instrument(self, why: str) -> None:
        self.fault = EmergencyStopError(
            f"{self._spool.command_state.hold_reason}. The instrument was closed because {why}. Check it, start this client "
            "again, and resume"
        )
        self._report("closed", str(self.fault), logging.ERROR)
        self._close()
        self._on_change()
