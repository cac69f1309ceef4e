"""Time zones of instruments' clocks."""

import time
import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from instrument_adapters.command_line.time_zone import parse_time_zone
from instrument_adapters.formats.instrument_note import times_from_note


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This computer is in Berlin."""
    if not hasattr(time, "tzset"):
        pytest.skip("the zone of a process cannot be set on Windows")
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.attack("summer time ends while the adapter runs", promise="the zone 'local' follows the rules of the computer")
@pytest.mark.usefixtures("in_berlin")
def test_the_local_zone_gives_each_time_the_offset_of_its_own_date() -> None:
    local, named = parse_time_zone("local"), parse_time_zone("Europe/Berlin")
    for hour in range(366 * 24):
        utc = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hour)
        ours, theirs = utc.astimezone(local), utc.astimezone(named)
        assert (ours.replace(tzinfo=None), ours.fold) == (theirs.replace(tzinfo=None), theirs.fold)
        assert ours.utcoffset() == theirs.utcoffset()
        assert ours.astimezone(UTC) == utc
    assert datetime(1, 1, 1, tzinfo=local).utcoffset() is not None
    assert datetime(9999, 12, 31, 23, tzinfo=local).utcoffset() is not None


@pytest.mark.usefixtures("in_berlin")
def test_a_frame_across_the_end_of_summer_time_lasts_as_long_as_it_did() -> None:
    seconds = (
        datetime(2026, 10, 25, 3, 10, tzinfo=UTC) - datetime(1904, 1, 1, tzinfo=UTC)
    ).total_seconds()  # ten minutes after the clock went back
    note = {"Seconds": seconds, "ScanRate": 1.0}
    started, finished = times_from_note(note, 1200, parse_time_zone("local"))
    assert (finished - started, started.utcoffset(), finished.utcoffset()) == (
        timedelta(minutes=20),
        timedelta(hours=1),
        timedelta(hours=1),
    )
    assert times_from_note(note, 4800, parse_time_zone("local"))[0].isoformat() == "2026-10-25T02:50:00+02:00"


def test_on_a_computer_without_zone_names_the_advice_is_to_add_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoneinfo.available_timezones", set)

    def none(key: str) -> None:
        raise zoneinfo.ZoneInfoNotFoundError(key)

    monkeypatch.setattr("zoneinfo.ZoneInfo", none)
    with pytest.raises(ValueError, match=r"no time zone names \(`pip install tzdata` adds them\); give local, UTC or an offset"):
        parse_time_zone("Europe/Berlin")
