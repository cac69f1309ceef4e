"""What a person has told this instrument through the agent, obeyed at once: pause, resume, emergency stop.

An emergency stop must not wait for anything: the instrument's `halt` runs in a thread of its own, while the call that it ends may
still hang in the worker's and the event loop goes on.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from typing import Any

from instrument_adapters.client.listener import Tell
from instrument_adapters.client.timings import ClientTimings
from instrument_adapters.errors import EmergencyStopError
from instrument_adapters.instrument import Halting, Instrument
from instrument_adapters.protocol.messages import CommandMessage, Snapshot
from instrument_adapters.spool.command_state import CommandState
from instrument_adapters.spool.spool import Spool


class OperatorCommands:
    """Takes commands, records them, and has them obeyed.

    Parameters
    ----------
    instrument
        Halted at an emergency stop, or closed where it cannot be halted.
    close
        Closes the instrument.
    spool
        Where it is recorded what the instrument may do.
    timings, tell
        How long to wait for what, and whom to tell what happens.
    changed
        Called when the instrument may do something else than before, or `fault` is set.

    Attributes
    ----------
    call
        The instrument's call under way, which an emergency stop ends; None: there is none.
    used
        Whether the instrument has been called at all; else there is nothing to stop.
    fault
        Why the client has to end: the instrument could only be stopped for good.
    """

    def __init__(
        self,
        instrument: Instrument,
        close: Callable[[], None],
        spool: Spool,
        timings: ClientTimings,
        tell: Tell,
        changed: Callable[[], None],
    ) -> None:
        self._instrument, self._close, self._spool, self._timings = instrument, close, spool, timings
        self._tell, self._changed = tell, changed
        self._watch: asyncio.Task[None] | None = None
        self.call: asyncio.Future[Any] | None = None
        self.used = False
        self.fault: EmergencyStopError | None = None

    async def take(self, command: CommandMessage) -> bool | None:
        """True if the command was known or a newer one was; False if it has been recorded and obeyed when the call returns.

        None if it would let the instrument go on although something before it is missing: it was not taken.
        """
        if self._spool.standing.knows(command):
            return True
        if self._spool.standing.must_wait(command):
            return None
        await self._obey(lambda standing: standing.after(command))
        return False

    async def adopt(self, snapshot: Snapshot, run_id: str) -> None:
        """Take over where the agent says that things stand."""
        await self._obey(lambda standing: standing.joined(snapshot, run_id))

    def end(self) -> None:
        """Watch a call under way no more."""
        if self._watch is not None:
            self._watch.cancel()

    async def _obey(self, change: Callable[[CommandState], CommandState]) -> None:
        standing = self._spool.standing
        if self._watch is not None and standing.state == "stopped" and change(standing).state != "stopped":
            await asyncio.wait({self._watch})  # a call that has not noticed yet that it was halted must not go on
        before, after = self._spool.stand(change), self._spool.standing
        if after.state == before.state:
            return
        if after.state == "stopped":
            self._tell("emergency_stop", f"{after.sentence}: everything ends now", logging.ERROR)
            await self._halt()
        else:
            if before.state == "stopped" and isinstance(self._instrument, Halting):
                self._instrument.release()
            sentence = after.sentence or f"going on; told by {after.who or 'somebody'}"
            self._tell("paused" if after.state == "paused" else "told_to_resume", sentence, logging.WARNING)
        self._changed()

    async def _halt(self) -> None:
        if not isinstance(self._instrument, Halting):
            if self.used:
                self._give_up("this instrument cannot be halted and go on later")
            return
        done = asyncio.Event()
        loop, faults = asyncio.get_running_loop(), list[Exception]()
        threading.Thread(target=self._call_halt, args=(self._instrument, loop, done, faults), name="halt", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timings.halt_s):
                await done.wait()
        self._watch = asyncio.create_task(self._see_it_end(done, faults, self.call))
        await asyncio.sleep(0)  # a halt that has failed is known before it is acknowledged

    @staticmethod
    def _call_halt(instrument: Halting, loop: asyncio.AbstractEventLoop, done: asyncio.Event, faults: list[Exception]) -> None:
        try:
            instrument.halt()
        except Exception as error:  # noqa: BLE001 - whatever a driver throws, the instrument has to come to rest
            faults.append(error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the client has ended, and closed the instrument
            loop.call_soon_threadsafe(done.set)

    async def _see_it_end(self, done: asyncio.Event, faults: list[Exception], call: asyncio.Future[Any] | None) -> None:
        """Close the instrument if halting it fails, or if the call under way goes on in spite of it."""
        try:
            async with asyncio.timeout(self._timings.halt_max_s):
                await done.wait()
                if call is not None and not faults:
                    await asyncio.wait({call})
        except TimeoutError:
            self._give_up(f"its call has not ended {self._timings.halt_max_s:g} s after the stop")
        if faults:
            self._give_up(f"halting it failed: {faults[0]}")

    def _give_up(self, why: str) -> None:
        self.fault = EmergencyStopError(
            f"{self._spool.standing.sentence}, and the instrument was closed, since {why}; see to it, start this client again, "
            "and resume"
        )
        self._tell("closed", str(self.fault), logging.ERROR)
        self._close()
        self._changed()
