"""The run at a glance: its instruments with their scans, the newest first."""

from agent.dashboard.models import InstrumentView, RunView, ScanLine
from agent.dashboard.story import InstrumentStory, Story
from instrument_adapters.messages import Limits

_SCANS = 30


def run_view(story: Story) -> RunView:
    """What the story has come to."""
    return RunView(
        run_id=story.run_id,
        directory=str(story.run_directory),
        seq=story.seq,
        started_at=story.started_at,
        versions=story.versions,
        reward=str(story.config.get("reward", "")),
        instruments=[_instrument(story, i) for i in story.instruments.values()],
    )


def _instrument(story: Story, told: InstrumentStory) -> InstrumentView:
    return InstrumentView(
        instrument_id=told.instrument_id,
        model=told.model,
        software=told.software,
        limits=Limits.model_validate(told.limits),
        connected=told.connected,
        state=told.state,
        state_reason=told.state_reason,
        scans=[_scan(story, told.instrument_id, scan_id) for scan_id in reversed(told.scans[-_SCANS:])],
    )


def _scan(story: Story, instrument_id: str, scan_id: str) -> ScanLine:
    entry = story.ledger.scans[instrument_id, scan_id]
    record = entry.decision
    measured = len(story.decisions[record.decision_id].results) if record is not None else 0
    return ScanLine(
        scan_id=scan_id,
        sample_id=entry.sample_id,
        at=entry.event.recorded_at,
        decision_id=record.decision_id if record is not None else None,
        outcome=record.outcome if record is not None else None,
        places=len(record.requests) if record is not None else 0,
        measured=measured,
        closed=entry.closed,
    )
