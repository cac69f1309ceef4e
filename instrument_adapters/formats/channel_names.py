"""Corrects the names and units of a scan's channels: in the files, names are garbled and some units are wrong."""

import re
from collections.abc import Mapping, Sequence

_DIRECTION = re.compile(r"(Retrace|Trace)", re.IGNORECASE)
_NAME_MAX = 56  # the wire allows 64; the rest is for a suffix that makes names unique

# True units of the quantities of an Asylum instrument; its files give "m" for all of them.
_UNITS = {
    "Height": "m",
    "ZSensor": "m",
    "Amplitude": "m",
    "Deflection": "m",
    "Phase": "deg",
    "Frequency": "Hz",
    "Current": "A",
    "Dissipation": "W",
    "Potential": "V",
    "Lateral": "V",
    "UserIn": "V",
    "BackPackIn": "V",
}


def channel_names(labels: Sequence[str]) -> list[str]:
    """One unique name for each label, in order: `<Quantity>Retrace` or `<Quantity>Trace`, and `Channel<N>` for an empty label.

    Characters after the direction are dropped: Igor leaves the tail of an older label behind a shorter one, and igor2 joins
    the two ("Phase1Retracece"). N counts from 1. Repeated names get the suffixes _2, _3, ...
    """
    names: list[str] = []
    for number, label in enumerate(labels, start=1):
        base = canonical_name(label) or f"Channel{number}"
        name, copy = base, 1
        while name in names:
            copy += 1
            name = f"{base}_{copy}"
        names.append(name)
    return names


def canonical_name(label: str) -> str:
    """`label` without control characters and without the characters after "Retrace" or "Trace"; may be empty."""
    clean = re.sub(r"[\x00-\x1f]", "", label).strip()[:_NAME_MAX]
    found = _DIRECTION.search(clean)
    return clean[: found.start()] + found.group(1).capitalize() if found else clean


def channel_quantity(name: str) -> str:
    """Quantity of channel `name`, without direction and nap-mode prefix: "NapUserIn0Retrace" gives "UserIn0"."""
    quantity = _DIRECTION.split(name)[0]
    return quantity.removeprefix("Nap") or quantity


def channel_unit(name: str, note: Mapping[str, str | float], default: str = "") -> str:
    """Unit of channel `name`: the note's `<Quantity>Unit` if present, else the unit of the quantity if known, else `default`.

    The data unit in the file is ignored: it is "m" even for phases and frequencies (measured).
    """
    quantity = channel_quantity(name)
    noted = str(note.get(f"{quantity}Unit", "")).strip()
    if noted:
        return "deg" if noted == "°" else noted[:16]
    return _UNITS.get(quantity.rstrip("0123456789"), default)
