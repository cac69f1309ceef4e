"""What goes wrong when: faults that were asked for, and faults drawn at random, scan by scan, from one seed."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from simulators.errors import UnknownFaultError
from simulators.faults.catalogue import EVERY, FAULTS, Fault, Place, Value, faults_of, find_fault

_TEXT = re.compile(r"(?P<name>\w+)(?:@(?:(?P<scan>\d{1,9})(?::(?P<line>\d{1,9}))?|point:(?P<point>\d{1,9})))?")
_RATE_MAX = 100.0


@dataclass(frozen=True)
class Injection:
    """One fault at one place; where nothing is said, as soon as it can happen.

    Parameters
    ----------
    name
        Of the fault.
    scan
        Number of the frame. Frames are counted as they are recorded: as their scan_id has it, until one is not saved.
    line
        Line of that frame, in the order of recording, from 0; by default the middle for what begins at a line.
    point
        Number of the loop, from 1 at the start of the instrument; points where no loop is begun do not count.
    given
        Parameters; the others are the fault's defaults.

    Raises
    ------
    UnknownFaultError
        If there is no such fault, or it cannot happen there or so.
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
                raise UnknownFaultError(f"{self.name} cannot happen at a {place} of its own; tie it to {allowed}")
        if (self.line is not None and self.scan is None) or (self.point is not None and self.scan is not None):
            raise UnknownFaultError(f"{self.name} needs one place: a scan, a line of a scan, or a point")
        if self.scan == 0 or self.point == 0:
            raise UnknownFaultError(f"{self.name} was to happen at number 0; scans and points are counted from 1")
        for key, value in self.given.items():
            _check_parameter(self.fault, key, value)

    @classmethod
    def parsed(cls, text: str) -> "Injection":
        """What `name`, `name@scan`, `name@scan:line` or `name@point:N` asks for.

        Raises
        ------
        UnknownFaultError
            If it is none of these.
        """
        found = _TEXT.fullmatch(text)
        if found is None:
            raise UnknownFaultError(f"{text!r} is no fault at a place; write name, name@scan, name@scan:line or name@point:N")
        scan, line, point = (None if found[key] is None else int(found[key]) for key in ("scan", "line", "point"))
        return cls(found["name"], scan, line, point)

    @property
    def fault(self) -> Fault:
        """What this is one case of."""
        return find_fault(self.name)

    @property
    def parameters(self) -> dict[str, Value]:
        """All parameters: those given, for the rest the defaults. At a point, a message is a result."""
        defaults = {key: parameter.default for key, parameter in self.fault.parameters.items()}
        if self.point is not None and "message" in defaults:
            defaults["message"] = "result"
        return {**defaults, **self.given}


@dataclass(frozen=True)
class FaultSchedule:
    """What goes wrong at each scan and each point.

    Parameters
    ----------
    injections
        What was asked for.
    rates
        Mean number of a fault's cases in a scan, by name; they are drawn for each scan from a generator of its own, so that a
        scan's faults depend on nothing but its number and `entropy`.
    entropy
        Seed of these generators.
    """

    injections: tuple[Injection, ...] = ()
    rates: Mapping[str, float] = field(default_factory=dict)
    entropy: int = 0

    @classmethod
    def of(cls, *asked: str | Injection) -> "FaultSchedule":
        """What was asked for, as `Injection.parsed` reads it, and nothing else.

        Raises
        ------
        UnknownFaultError
            If one of them is none.
        """
        return cls(tuple(one if isinstance(one, Injection) else Injection.parsed(one) for one in asked))

    @classmethod
    def drawn(
        cls, rate: float | Mapping[str, float], rng: np.random.Generator, injections: Iterable[Injection] = ()
    ) -> "FaultSchedule":
        """A random schedule beside what was asked for.

        Parameters
        ----------
        rate
            Mean number of faults in a scan: of all, or by name or group; several faults share a rate evenly.
        rng
            One number is drawn from it.
        injections
            What happens in any case.

        Raises
        ------
        UnknownFaultError
            If a name is none, or a rate is not a number from 0 to 100.
        """
        by_name = dict.fromkeys(FAULTS, 0.0)
        asked = {EVERY: rate} if isinstance(rate, int | float) else rate
        for name, mean in asked.items():
            if not 0 <= mean <= _RATE_MAX:
                raise UnknownFaultError(f"a rate of {mean} {name} faults a scan was asked for; 0 to {_RATE_MAX:g} are allowed")
            faults = faults_of(name)
            for fault in faults:
                by_name[fault.name] += mean / len(faults)
        happening = {name: mean for name, mean in by_name.items() if mean > 0}
        return cls(tuple(injections), happening, int(rng.integers(1 << 62)))

    def at_scan(self, number: int, *, lines: int, since_start: int) -> tuple[Injection, ...]:
        """What befalls one frame, each case with its line; what was asked for comes first.

        Parameters
        ----------
        number
            Of the frame.
        lines
            Of the frame. What was asked for at a line that it does not have, does not happen.
        since_start
            Frames since the instrument was started, this one included.
        """
        asked = [one for one in self.injections if one.point is None and self._meets(one, number, since_start)]
        placed = [replace(one, scan=number, line=_line_of(one, lines)) for one in asked]
        drawn = self._drawn_for(number, lines) if self.rates else []
        cases = [one for one in (*placed, *drawn) if since_start >= one.fault.first_scan]
        return tuple(one for one in cases if one.line is None or one.line < lines)

    def at_point(self, number: int) -> tuple[Injection, ...]:
        """What was asked for at the measured point of this number."""
        return tuple(one for one in self.injections if one.point == number)

    @property
    def possible(self) -> frozenset[str]:
        """Names of the faults that may happen."""
        return frozenset(one.name for one in self.injections) | frozenset(self.rates)

    @staticmethod
    def _meets(one: Injection, number: int, since_start: int) -> bool:
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
        raise UnknownFaultError(f"{key} = {value!r} was given for {fault.name}; allowed: {parameter}")
