"""Schedule of faults: requested ones, and random ones drawn scan by scan from one seed."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from simulators.errors import UnknownFaultError
from simulators.faults.catalogue import EVERY, FAULTS, Fault, Place, Value, faults_in, find_fault

_TEXT = re.compile(r"(?P<name>\w+)(?:@(?:(?P<scan>\d{1,9})(?::(?P<line>\d{1,9}))?|point:(?P<point>\d{1,9})))?")
_RATE_MAX = 100.0


@dataclass(frozen=True)
class Injection:
    """One fault at one place; without a place it occurs as soon as possible.

    Parameters
    ----------
    name
        Name of the fault.
    scan
        Number of the frame. Frames are counted as they are recorded, so the number agrees with the scan_id until a frame is not
        saved.
    line
        Line of that frame in the order of recording, from 0; by default the middle one, if the fault begins at a line.
    point
        Number of the loop since the start of the instrument, from 1; points where no loop is begun do not count.
    given
        Parameters that differ from the fault's defaults.

    Raises
    ------
    UnknownFaultError
        If there is no such fault, or it cannot occur at this place or with these parameters.
    """

    name: str
    scan: int | None = None
    line: int | None = None
    point: int | None = None
    given: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        places = self.fault.places
        for place, number in ((Place.LINE, self.line), (Place.POINT, self.point)):
            if number is not None and place not in places:
                allowed = " or ".join(sorted(f"a {p}" for p in places))
                raise UnknownFaultError(f"{self.name} cannot be tied to a {place}; tie it to {allowed}")
        if (self.line is not None and self.scan is None) or (self.point is not None and self.scan is not None):
            raise UnknownFaultError(f"{self.name} needs exactly one place: a scan, a line of a scan, or a point")
        if self.scan == 0 or self.point == 0:
            raise UnknownFaultError(f"{self.name} was given number 0; scans and points are counted from 1")
        for key, value in self.given.items():
            _check_parameter(self.fault, key, value)

    @classmethod
    def parse(cls, text: str) -> "Injection":
        """Injection in the form `name`, `name@scan`, `name@scan:line` or `name@point:N`.

        Raises
        ------
        UnknownFaultError
            If the text has none of these forms.
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            raise UnknownFaultError(f"{text!r} is not a fault; write name, name@scan, name@scan:line or name@point:N")
        scan, line, point = (None if found[key] is None else int(found[key]) for key in ("scan", "line", "point"))
        return cls(found["name"], scan, line, point)

    @property
    def fault(self) -> Fault:
        """Entry of the fault in the catalogue."""
        return find_fault(self.name)

    @property
    def parameters(self) -> dict[str, Value]:
        """All parameters: the given ones and the defaults of the rest. For a fault at a point the message is a result."""
        defaults = {key: parameter.default for key, parameter in self.fault.parameters.items()}
        if self.point is not None and "message" in defaults:
            defaults["message"] = "result"
        return {**defaults, **self.given}


@dataclass(frozen=True)
class FaultSchedule:
    """Faults at each scan and each point.

    Parameters
    ----------
    injections
        Requested faults.
    rates
        Mean number of random faults per scan, by name of the fault. Each scan has a random generator of its own, so its faults
        depend only on its number and on `entropy`.
    entropy
        Seed of these generators.
    """

    injections: tuple[Injection, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    entropy: int = 0

    @classmethod
    def from_names(cls, *asked: str | Injection) -> "FaultSchedule":
        """Schedule of the given faults only, each an `Injection` or a text that `Injection.parse` reads.

        Raises
        ------
        UnknownFaultError
            If a text does not name a fault.
        """
        return cls(tuple(one if isinstance(one, Injection) else Injection.parse(one) for one in asked))

    @classmethod
    def random(
        cls, rate: float | Mapping[str, float], rng: np.random.Generator, injections: Iterable[Injection] = ()
    ) -> "FaultSchedule":
        """Schedule of random faults in addition to the given ones.

        Parameters
        ----------
        rate
            Mean number of faults per scan, in total or by name or group; the faults of a group share its rate equally.
        rng
            Random generator, from which one number is drawn.
        injections
            Faults that occur in any case.

        Raises
        ------
        UnknownFaultError
            If a name is unknown, or a rate is not between 0 and 100.
        """
        by_name = dict.fromkeys(FAULTS, 0.0)
        asked = {EVERY: rate} if isinstance(rate, int | float) else rate
        for name, mean in asked.items():
            if not 0 <= mean <= _RATE_MAX:
                raise UnknownFaultError(f"the rate of {name} faults is {mean} per scan; 0 to {_RATE_MAX:g} are allowed")
            faults = faults_in(name)
            for fault in faults:
                by_name[fault.name] += mean / len(faults)
        positive = {name: mean for name, mean in by_name.items() if mean > 0}
        return cls(tuple(injections), positive, int(rng.integers(1 << 62)))

    def at_scan(self, number: int, *, lines: int, since_start: int) -> tuple[Injection, ...]:
        """Faults of one frame, each with its line; the requested ones come first.

        Parameters
        ----------
        number
            Number of the frame.
        lines
            Number of lines of the frame; a fault requested at a later line does not occur.
        since_start
            Number of frames since the start of the instrument, including this one.
        """
        asked = [one for one in self.injections if one.point is None and self._applies(one, number, since_start)]
        placed = [replace(one, scan=number, line=_line_of(one, lines)) for one in asked]
        drawn = self._drawn_for(number, lines) if self.rates else []
        cases = [one for one in (*placed, *drawn) if since_start >= one.fault.first_scan]
        return tuple(one for one in cases if one.line is None or one.line < lines)

    def at_point(self, number: int) -> tuple[Injection, ...]:
        """Faults requested at the measured point with this number."""
        return tuple(one for one in self.injections if one.point == number)

    @property
    def possible(self) -> frozenset[str]:
        """Names of the faults that may occur."""
        return frozenset(one.name for one in self.injections) | frozenset(self.rates)

    @staticmethod
    def _applies(one: Injection, number: int, since_start: int) -> bool:
        return one.scan == number if one.scan is not None else since_start == one.fault.first_scan

    def _drawn_for(self, number: int, lines: int) -> list[Injection]:
        rng = np.random.default_rng([self.entropy, number])
        cases = []
        for name, rate in self.rates.items():
            for _ in range(rng.poisson(rate)):
                fault = find_fault(name)
                line = int(rng.integers(lines)) if Place.LINE in fault.places else None
                given = {key: parameter.draw(rng) for key, parameter in fault.parameters.items()}
                cases.append(Injection(name, number, line, None, given))
        return cases


def _line_of(one: Injection, lines: int) -> int | None:
    return one.line if one.line is not None or Place.LINE not in one.fault.places else lines // 2


def _check_parameter(fault: Fault, key: str, value: Value) -> None:
    parameter = fault.parameters.get(key)
    if parameter is None:
        raise UnknownFaultError(f"{fault.name} has no parameter {key!r}; it has {', '.join(fault.parameters) or 'none'}")
    if not parameter.admits(value):
        raise UnknownFaultError(f"the parameter {key} of {fault.name} is {value!r}; allowed: {parameter}")
