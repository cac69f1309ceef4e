"""Routes to instruments: the live connections that speak under each name, and what they have answered to the newest command.

A routing id is the name of the instrument, followed by a slash and something that nobody can guess, so that no other client can
take the connection over: zmq gives the route of a routing id to whoever connects with it last. The name alone is accepted from
clients of other makers.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.messaging.status import Replies

_ROUTES_MAX = 64  # of one name; beyond, the one that has been silent for longest makes room until it speaks again


@dataclass
class _Asked:
    message_id: str
    at_s: float
    answers_s: dict[bytes, float] = field(default_factory=dict)


class Routes:
    """Connections from which a message was accepted, by the name of their instrument; pure bookkeeping.

    Parameters
    ----------
    monotonic
        Monotonic clock in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._routes: dict[str, dict[bytes, None]] = {}  # the one that spoke last is last
        self._asked: dict[str, _Asked] = {}

    def spoke(self, name: str, identity: bytes) -> bool:
        """Note an accepted message; True if the connection is new and another one speaks under the same name."""
        routes = self._routes.setdefault(name, {})
        is_second = identity not in routes and bool(routes)
        routes.pop(identity, None)
        routes[identity] = None
        if len(routes) > _ROUTES_MAX:
            del routes[next(iter(routes))]
        return is_second

    def drop(self, identity: bytes) -> None:
        """Forget a connection that has ended, or that somebody else holds now."""
        name = name_in(identity)
        self._routes.get(name, {}).pop(identity, None)
        if not self._routes.get(name):
            self._routes.pop(name, None)

    def all_of(self, name: str) -> list[bytes]:
        """All connections under a name, the one that spoke last first."""
        return list(reversed(self._routes.get(name, {})))

    def newest(self, name: str) -> bytes | None:
        """The connection under a name that spoke last; None if there is none."""
        return next(reversed(self._routes.get(name, {})), None)

    def asked(self, name: str, message_id: str) -> None:
        """Note that a command is sent to the connections under a name; a repetition changes nothing."""
        known = self._asked.get(name)
        if known is None or known.message_id != message_id:
            self._asked[name] = _Asked(message_id, self._monotonic())

    def answered(self, identity: bytes, of: str | None) -> None:
        """Note that a connection has acknowledged or refused message `of`."""
        asked = self._asked.get(name_in(identity))
        if asked is not None and asked.message_id == of:
            asked.answers_s.setdefault(identity, self._monotonic() - asked.at_s)

    def replies(self, name: str) -> Replies:
        """What the connections under a name have answered to its newest command."""
        routes, asked = self._routes.get(name, {}), self._asked.get(name)
        answers_s = {} if asked is None else asked.answers_s
        within_ms = round(1000 * max(answers_s.values()), 1) if answers_s else None
        return Replies(len(routes), sum(identity in answers_s for identity in routes), within_ms)


def name_in(identity: bytes) -> str:
    """The instrument's name in a routing id. zmq's own ids, of clients that choose none, are not text."""
    return identity.split(b"/", 1)[0].decode("utf-8", "backslashreplace")
