"""The running service, as far as the page shows what is not in the history."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from agent.dashboard.live import Live
from agent.dashboard.models import Edits, Problem, ProgressView
from agent.partial import PartialFrame
from agent.workflow.errors import ControlError
from instrument_adapters.messages import StatusMessage


class Running(Protocol):
    """What of `agent.service.Service` is shown; it calls `on_publish` with all that it publishes, in its event loop."""

    on_publish: Callable[[str, Mapping[str, Any]], None]

    def partial_frame(self, instrument_id: str) -> PartialFrame | None:
        """What an instrument has shown of the frame that it is recording."""

    def doing(self, instrument_id: str) -> StatusMessage | None:
        """What an instrument last said that it is doing."""

    def objections(self, decision_id: str, drop: Sequence[str], move: Mapping[str, tuple[float, float]]) -> dict[str, str]:
        """Which points of a waiting decision could not be approved with these edits, and why."""


class ServiceWatch:
    """Asks the service; see `agent.dashboard.views.Watched`.

    Parameters
    ----------
    service
        In whose event loop `problems` is called; all else may be asked from any thread.
    deadline_s
        Of a search; None: none.
    """

    def __init__(self, service: Running, deadline_s: float | None) -> None:
        self._service, self._live = service, Live(deadline_s)

    def tell(self, kind: str, facts: Mapping[str, Any]) -> None:
        """Something that the service publishes."""
        self._live.tell(kind, facts)

    def searches(self, undecided: Mapping[str, str]) -> dict[str, ProgressView]:
        """Instrument -> how far the search on its scan is."""
        return self._live.searches(undecided)

    def partial(self, instrument_id: str) -> PartialFrame | None:
        """What has come of the frame that an instrument is recording."""
        return self._service.partial_frame(instrument_id)

    def activity(self, instrument_id: str) -> str:
        """What an instrument says that it is doing: a word, and after a colon a sentence if there is one."""
        told = self._service.doing(instrument_id)
        if told is None:
            return ""
        return f"{told.activity}: {told.sentence}" if told.sentence else told.activity

    def measuring(self, instrument_id: str) -> str | None:
        """The request that an instrument is measuring."""
        told = self._service.doing(instrument_id)
        return told.request_id if told is not None and told.activity == "measuring" else None

    def problems(self, decision_id: str, edits: Edits) -> list[Problem]:
        """What would be refused of these edits; all of it, where the decision is not open any more."""
        try:
            found = self._service.objections(decision_id, edits.drop, edits.move)
        except ControlError as error:
            return [Problem(request_id=name, sentence=str(error)) for name in edits.move]
        return [Problem(request_id=name, sentence=why) for name, why in found.items()]
