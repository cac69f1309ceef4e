"""The safety envelope: which points may be measured, and what keeps the others out. Pure functions.

It is asked when a decision's points are made ready, again before each sending, and for points that a person has moved. A point is
never moved to fit: what does not pass is left out, with the reason.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float

from agent.config.safety import SafetySettings
from agent.recommendation.exclusion_zones import neighbour_counts
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol.messages import Limits, MeasurementRequest

NOWHERE: Float[np.ndarray, "0 2"] = np.empty((0, 2))
_ROUNDING = 1e-6  # two points planned at exactly the smallest spacing are not "too close"

#: Rule -> how points that break it are counted to a person.
RULES = {
    "bias": "because the instrument's bias is too large",
    "scan_age": "of a scan that is too old",
    "asked_before": "asked for before",
    "frame": "outside the frame of the scan",
    "limits": "outside the limits of the stage",
    "drift": "too far from their pixel",
    "spacing": "nearer than the spacing",
    "dose": "where enough has been measured",
    "scan_cap": "more than may be measured after one scan",
    "sample_cap": "more than may be measured on the sample",
}


@dataclass(frozen=True)
class Target:
    """A request, and how far it is commanded from where the scan shows it.

    Parameters
    ----------
    request
        Where the tip would go.
    correction_m
        Commanded minus shown, x and y in metres: what is to make up for drift.
    """

    request: MeasurementRequest
    correction_m: tuple[float, float]

    @staticmethod
    def of(request: MeasurementRequest, frame: Frame) -> "Target":
        """The place of a request that the agent made: its pixel is where the scan shows it."""
        shown = frame.to_metres(np.array([[float(request.row), float(request.col)]]))[0]
        return Target(request, (request.x_m - float(shown[0]), request.y_m - float(shown[1])))

    @property
    def commanded_xy(self) -> tuple[float, float]:
        """Where the tip would go, in metres."""
        return self.request.x_m, self.request.y_m

    @property
    def shown_xy(self) -> tuple[float, float]:
        """Where the scan shows it, in metres."""
        return self.request.x_m - self.correction_m[0], self.request.y_m - self.correction_m[1]


@dataclass(frozen=True, eq=False)
class EnvelopeContext:
    """What a decision's points are held against.

    Parameters
    ----------
    frame
        Of the scan that they were chosen from.
    limits
        Of the instrument, narrowed by the settings (`narrowed`).
    safety
        The settings.
    touched_xy
        Shape (m, 2): where other decisions' points on the sample were measured or tried, in metres, where the scan shows them.
    drifts
        Whether drift is known: then places are compared where the scan shows them, else where they are commanded.
    tried_after_scan
        How many of those were tried after this scan.
    asked_before
        Ids of requests that have an outcome already.
    bias_V
        Largest magnitude of the bias that the instrument's measurements apply; None where it does not say.
    age_s
        Seconds since the scan ended; None where that is not known.
    """

    frame: Frame
    limits: Limits
    safety: SafetySettings
    touched_xy: Float[np.ndarray, "m 2"] = field(default_factory=lambda: NOWHERE)
    drifts: bool = False
    tried_after_scan: int = 0
    asked_before: frozenset[str] = frozenset()
    bias_V: float | None = None
    age_s: float | None = None

    @property
    def doses(self) -> set[tuple[int, float]]:
        """(Most points, within metres) of the settings and of the instrument."""
        return {(self.safety.dose_max, self.safety.dose_radius_m), (self.limits.dose_max, self.limits.dose_radius_m)}


@dataclass(frozen=True)
class Refusal:
    """A point that must not be measured, the rule that it breaks, and how."""

    request: MeasurementRequest
    rule: str
    reason: str


@dataclass(frozen=True)
class EnvelopeVerdict:
    """What may be measured, and what may not, each in the order given."""

    passed: tuple[Target, ...]
    refused: tuple[Refusal, ...]


def narrowed(limits: Limits, safety: SafetySettings) -> Limits:
    """What both the instrument and the settings allow.

    Of two doses within different distances the instrument's stays; `check` asks for both.
    """
    same_radius = limits.dose_radius_m == safety.dose_radius_m
    return Limits(
        x_min_m=_tighter(max, limits.x_min_m, safety.x_min_m),
        x_max_m=_tighter(min, limits.x_max_m, safety.x_max_m),
        y_min_m=_tighter(max, limits.y_min_m, safety.y_min_m),
        y_max_m=_tighter(min, limits.y_max_m, safety.y_max_m),
        bias_max_V=_tighter(min, limits.bias_max_V, safety.bias_max_V),
        spacing_min_m=max(limits.spacing_min_m, safety.spacing_min_m),
        points_max=limits.points_max if safety.points_per_scan is None else min(limits.points_max, safety.points_per_scan),
        dose_max=min(limits.dose_max, safety.dose_max) if same_radius else limits.dose_max,
        dose_radius_m=limits.dose_radius_m,
        scan_age_max_s=min(limits.scan_age_max_s, safety.scan_age_max_s),
    )


def check(places: Sequence[Target], ground: EnvelopeContext) -> EnvelopeVerdict:
    """Which of the places may be measured: the first ones that can be together, in their order."""
    batch, refused = _Batch(ground), []
    for place in places:
        broken = batch.broken_by(place)
        if broken is None:
            batch.take(place)
        else:
            refused.append(Refusal(place.request, *broken))
    return EnvelopeVerdict(tuple(batch.taken), tuple(refused))


def left_out(rules: Sequence[str], total: int) -> str:
    """A sentence that counts what was left out of so many points; empty if nothing was."""
    if not rules:
        return ""
    counts = Counter(rules)
    why = ", ".join(f"{counts[rule]} {words}" for rule, words in RULES.items() if counts[rule])
    return f"Left out for safety, {len(rules)} of {total} points: {why}."


class _Batch:
    """The places taken so far, and whether one more may join them."""

    def __init__(self, ground: EnvelopeContext) -> None:
        self._ground = ground
        self.taken: list[Target] = []
        self._ids: set[str] = set(ground.asked_before)
        self._commanded = NOWHERE
        self._touched = np.asarray(ground.touched_xy, dtype=np.float64).reshape(-1, 2)
        # Of each dose: how many points lie around each touched one, itself included.
        self._counts = {dose: neighbour_counts(self._touched, self._touched, dose[1]) for dose in sorted(ground.doses)}
        self._rules: dict[str, Callable[[Target], str]] = {
            "bias": self._bias,
            "scan_age": self._scan_age,
            "asked_before": self._asked_before,
            "frame": self._frame,
            "limits": self._limits,
            "drift": self._drift,
            "spacing": self._spacing,
            "dose": self._dose,
            "scan_cap": self._scan_cap,
            "sample_cap": self._sample_cap,
        }

    def broken_by(self, place: Target) -> tuple[str, str] | None:
        """The first rule that a place breaks, and how; None if it may be measured."""
        for rule, broken in self._rules.items():
            if reason := broken(place):
                return rule, reason
        return None

    def take(self, place: Target) -> None:
        """From now on a place counts as measured."""
        self.taken.append(place)
        self._ids.add(place.request.request_id)
        here = self._where(place)
        for dose, counts in self._counts.items():
            near = _within(self._touched, here, dose[1])
            self._counts[dose] = np.append(counts + near, near.sum() + 1)
        self._touched = np.concatenate([self._touched, [here]])
        self._commanded = np.concatenate([self._commanded, [place.commanded_xy]])

    def _where(self, place: Target) -> tuple[float, float]:
        return place.shown_xy if self._ground.drifts else place.commanded_xy

    def _bias(self, _: Target) -> str:
        bias_V, most_V = self._ground.bias_V, self._ground.limits.bias_max_V
        if bias_V is None or bias_V <= most_V:
            return ""
        return f"the instrument's measurements apply {bias_V:g} V, at most {most_V:g} V are allowed; set a smaller bias there"

    def _scan_age(self, _: Target) -> str:
        age_s, most_s = self._ground.age_s, self._ground.limits.scan_age_max_s
        if age_s is None or age_s <= most_s:
            return ""
        return f"its scan ended {age_s:.0f} s ago, at most {most_s:.0f} s are allowed; take a new scan"

    def _asked_before(self, place: Target) -> str:
        name = place.request.request_id
        return f"request '{name}' was asked for before; nothing is measured twice" if name in self._ids else ""

    def _frame(self, place: Target) -> str:
        frame, request = self._ground.frame, place.request
        if request.row >= frame.rows or request.col >= frame.cols:
            return f"pixel ({request.row}, {request.col}) is outside the scan of {frame.rows} x {frame.cols} px"
        inside = frame.contains(np.array([place.commanded_xy, place.shown_xy]))
        return "" if inside.all() else f"{_um(place.commanded_xy)} is outside the frame of the scan"

    def _limits(self, place: Target) -> str:
        limits = self._ground.limits
        ranges = ((limits.x_min_m, limits.x_max_m), (limits.y_min_m, limits.y_max_m))
        for axis, value, (low, high) in zip("xy", place.commanded_xy, ranges, strict=True):
            if not low <= value <= high:
                return f"{axis} = {value * 1e6:.3f} um is outside the stage's range, {low * 1e6:.3f} to {high * 1e6:.3f} um"
        return ""

    def _drift(self, place: Target) -> str:
        far_m, most_m = math.hypot(*place.correction_m), self._ground.safety.drift_max_m
        if far_m <= most_m * (1 + _ROUNDING):
            return ""
        return f"it is commanded {far_m * 1e9:.1f} nm from its pixel, at most {most_m * 1e9:.1f} nm are allowed"

    def _spacing(self, place: Target) -> str:
        least_m = self._ground.limits.spacing_min_m
        apart_m = _nearest_m(place.commanded_xy, self._commanded)
        if apart_m == 0:
            return f"{_um(place.commanded_xy)} is asked for twice"
        nearest_m = min(apart_m, _nearest_m(self._where(place), self._touched))
        if nearest_m >= least_m * (1 - _ROUNDING):
            return ""
        return f"{_um(place.commanded_xy)} is {nearest_m * 1e9:.1f} nm from another point, {least_m * 1e9:.1f} nm are required"

    def _dose(self, place: Target) -> str:
        here = self._where(place)
        for (most, radius_m), counts in self._counts.items():
            near = _within(self._touched, here, radius_m)
            if near.sum() + 1 > most or (counts[near] + 1 > most).any():
                return f"around {_um(place.commanded_xy)} {most} points within {radius_m * 1e9:.0f} nm are all that is allowed"
        return ""

    def _scan_cap(self, _: Target) -> str:
        most = self._ground.limits.points_max
        full = len(self.taken) + self._ground.tried_after_scan >= most
        return f"{most} points after one scan are all that is allowed" if full else ""

    def _sample_cap(self, _: Target) -> str:
        most = self._ground.safety.points_per_sample
        full = most is not None and len(self._touched) >= most
        return f"{most} points on this sample are all that is allowed" if full else ""


def _tighter(choose: Callable[[float, float], float], instruments: float, given: float | None) -> float:
    return instruments if given is None else choose(instruments, given)


def _within(xy: Float[np.ndarray, "m 2"], here: tuple[float, float], radius_m: float) -> Bool[np.ndarray, " m"]:
    return np.asarray(np.hypot(*(xy - np.array(here)).T) <= radius_m)


def _nearest_m(here: tuple[float, float], others: Float[np.ndarray, "m 2"]) -> float:
    return float(np.hypot(*(others - np.array(here)).T).min()) if len(others) else math.inf


def _um(xy: tuple[float, float]) -> str:
    return f"({xy[0] * 1e6:.3f}, {xy[1] * 1e6:.3f}) um"
