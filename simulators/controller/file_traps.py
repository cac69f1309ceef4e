"""The oddities of a real MFP-3D file (scan_0001.ibw) that a reader must cope with, for files of the simulator.

Seven keys of the note stand there twice and the last value counts, two of them change their meaning; some values follow their
colon without a blank, one holds colons; "°" is one byte (ISO-8859-1). `Channel<N>DataType` goes in another order than the layers.
The labels of phases carry, behind their end, the tail of an older, longer label, which some readers join to it
("Phase1Retracece"). The unit "m" for every layer's data is no trap of its own: all files of the simulator have it.
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


def trapped_note(entries: Mapping[str, str | float]) -> bytes:
    """The note's text with doubled keys, in ISO-8859-1."""
    lines = [f"{key}:{value}" for key, value in _FIRST]
    lines += [f"{key}: {value}" for key, value in entries.items()]
    lines += [f"{key}: {value}" for key, value in _LAST]
    return "".join(f"{line}\r" for line in lines).encode("iso-8859-1", "replace")


def trapped_label(name: str) -> bytes:
    """A channel's label with what an older one left behind it."""
    return name.encode() + _TAILS.get(name, b"")
