"""Gives simulated files the oddities of a real MFP-3D file (scan_0001.ibw) that a reader must cope with.

Seven keys of the note occur twice, and the last value counts; two of them change their meaning. Some values follow the colon
without a space, one contains colons; "°" is one byte (ISO-8859-1). `Channel<N>DataType` is in another order than the layers.
After the end of a phase label the rest of an older, longer label remains, which some readers append ("Phase1Retracece"). The unit
"m" for the data of every layer is not listed here, since all files of the simulator have it.
"""

from collections.abc import Mapping

_RECORDED = ("Height", "Amplitude1", "Phase1", "Frequency", "Amplitude2", "Phase2", "None", "None")
_FIRST = (
    ("NapMode", "Off"),
    ("Channel1DataType", "1"),
    ("NapPhaseOffset", "-82.639"),
    ("NapParms", "0"),
    ("Initial Parms", "Start"),
    ("SaveImage", "2"),
    ("Log File", "Start"),
    ("StartHeadTemp", "32.125 °C"),
)
_LAST = (
    ("Initial Parms", "End"),
    ("NapPhaseOffset", "90"),
    ("NapMode", "0"),
    ("NapParms", "0"),
    *((f"Channel{number}DataType", name) for number, name in enumerate(_RECORDED, start=1)),
    ("SaveImage", "C:Users:Asylum User:Documents:240820:"),
    ("UserCalcUnit", "°"),
    ("Log File", "Stop"),
)
_TAILS = {"Phase1Retrace": b"\0ce", "Phase2Retrace": b"\0ace"}


def note_with_traps(entries: Mapping[str, str | float]) -> bytes:
    """Text of the note with duplicate keys, in ISO-8859-1."""
    lines = [f"{key}:{value}" for key, value in _FIRST]
    lines += [f"{key}: {value}" for key, value in entries.items()]
    lines += [f"{key}: {value}" for key, value in _LAST]
    return "".join(f"{line}\r" for line in lines).encode("iso-8859-1", "replace")


def label_with_traps(name: str) -> bytes:
    """Label of a channel, followed by the rest of an older label."""
    return name.encode() + _TAILS.get(name, b"")
