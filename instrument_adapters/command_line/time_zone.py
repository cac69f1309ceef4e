"""Time zone of an instrument's clock, as given in an option or a settings file."""

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_OFFSET = re.compile(r"(?:UTC)?([+-])(\d{1,2}):?(\d{2})?")


def parse_time_zone(text: str) -> tzinfo:
    """Time zone of a text: "local" (this computer's present zone), "UTC", "+02:00" or "Europe/Berlin".

    Raises
    ------
    ValueError
        If there is no such zone; the message says what is allowed.
    """
    found = _OFFSET.fullmatch(text)
    if text == "local":
        return datetime.now(UTC).astimezone().tzinfo or UTC
    if text == "UTC":
        return UTC
    if found:
        minutes = 60 * int(found[2]) + int(found[3] or 0)
        if minutes < 24 * 60:
            return timezone(timedelta(minutes=minutes if found[1] == "+" else -minutes))
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{text!r} is not a time zone; give one such as local, UTC, +02:00 or Europe/Berlin") from error
