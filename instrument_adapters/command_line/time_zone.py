"""Time zone of an instrument's clock, as given in an option or a settings file."""

import re
import zoneinfo
from datetime import UTC, datetime, timedelta, timezone, tzinfo

_OFFSET = re.compile(r"(?:UTC)?([+-])(\d{1,2}):?(\d{2})?")


class LocalZone(tzinfo):
    """Time zone of this computer with the operating system's rules: each time has the offset of its own date.

    In the hour that occurs twice at the end of summer time, the earlier one is meant unless `fold` says otherwise. For dates of
    which the system knows no offset (before 1970 on Windows), the present one is used.
    """

    def utcoffset(self, dt: datetime | None) -> timedelta | None:
        """Offset from UTC at a local time; None if there is no time."""
        return None if dt is None else self._local(dt).utcoffset()

    def dst(self, _: datetime | None) -> timedelta | None:
        """None: the system gives the whole offset only."""
        return None

    def tzname(self, dt: datetime | None) -> str | None:
        """The system's name of the zone at a local time."""
        return "local" if dt is None else self._local(dt).tzname()

    def fromutc(self, dt: datetime) -> datetime:
        """The local time of a UTC time; called by `datetime.astimezone`."""
        try:
            local = dt.replace(tzinfo=UTC).astimezone()
        except (OSError, OverflowError, ValueError):
            return dt + (datetime.now(UTC).astimezone().utcoffset() or timedelta(0))
        return local.replace(tzinfo=self, fold=_fold(local))

    @staticmethod
    def _local(dt: datetime) -> datetime:
        try:
            return dt.replace(tzinfo=None).astimezone()
        except (OSError, OverflowError, ValueError):
            return datetime.now(UTC).astimezone()

    def __repr__(self) -> str:
        return "LocalZone()"


def parse_time_zone(text: str) -> tzinfo:
    """Time zone of a text: "local" (this computer's, with summer time), "UTC", "+02:00" or "Europe/Berlin".

    Raises
    ------
    ValueError
        If there is no such zone; the message says what is allowed.
    """
    found = _OFFSET.fullmatch(text)
    if text == "local":
        return LocalZone()
    if text == "UTC":
        return UTC
    if found:
        minutes = 60 * int(found[2]) + int(found[3] or 0)
        if minutes < 24 * 60:
            return timezone(timedelta(minutes=minutes if found[1] == "+" else -minutes))
    try:
        return zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        if not zoneinfo.available_timezones():
            raise ValueError(
                f"{text!r} cannot be looked up: this computer has no time zone names (`pip install tzdata` adds them); "
                "give local, UTC or an offset such as +02:00"
            ) from error
        raise ValueError(f"{text!r} is not a time zone; give one such as local, UTC, +02:00 or Europe/Berlin") from error


def _fold(local: datetime) -> int:
    """1 if this is the later of two equal local times, 0 otherwise."""
    first = local.replace(tzinfo=None, fold=0).astimezone()
    return int(first.utcoffset() != local.utcoffset())
