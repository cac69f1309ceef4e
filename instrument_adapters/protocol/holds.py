"""Identity of a pause or an emergency stop, by which an agent recognises one that an instrument still obeys.

An instrument that joins an agent while it is held reports its hold as a `trouble` message with this event and this id, unless
the welcome shows that very hold. An agent without such a command in its history takes the hold over before it acknowledges the
report.
"""

import uuid

HELD = {"paused": "still_paused", "stopped": "still_stopped"}
"""State of the instrument -> `event` of the message that reports it."""


def hold_id(run_id: str | None, seq: int, who: str) -> str:
    """Id of the report: the same for the same command of the same run by the same author for the same reason."""
    return f"hold-{uuid.uuid5(uuid.NAMESPACE_OID, f'{run_id}/{seq}/{who}').hex}"
