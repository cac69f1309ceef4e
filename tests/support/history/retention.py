"""Retention in one step, as tests need it."""

import functools
from datetime import datetime

from agent.config.retention import RetentionSettings
from agent.history.event_log import Event, History
from agent.history.retention import plan_release, release


def retain(history: History, settings: RetentionSettings, now: datetime) -> Event | None:
    """Plan and release at once; the "arrays_released" event, or None if nothing may be removed."""
    return release(history, plan_release(history, settings, now), functools.partial(history.record, at=now))
