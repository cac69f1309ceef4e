"""The safety envelope: which points may be measured, and the rule that each of the others breaks. Pure functions.

Points are checked when a decision is made, when an operator moves them, and again before each sending. A point is never moved to
satisfy a rule: it is left out, with the reason.
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

#: Rule -> phrase that follows the number of points that break it.
RULES = {
    "bias": "because the bias of the instrument is too large",
    "scan_age": "because the scan is too old",
    "asked_before": "requested before",
    "frame": "outside the frame of the scan",
    "limits": "outside the stage's range",
    "drift": "with too large a drift correction",
    "spacing": "closer than the spacing to another point",
    "dose": "where the dose is reached",
    "scan_cap": "beyond the maximum for one scan",
    "sample_cap": "beyond the maximum for the sample",
}


@dataclass(frozen=True)
class Target:
    """A request, and its displacement from the position where the scan shows it.

    Parameters
    ----------
    request
        Request with the commanded position.
    correction_m
        Drift correction: commanded minus shown position, x and y in metres.
    """

    request: MeasurementRequest
    correction_m: tuple[float, float]

    @staticmethod
    def of(request: MeasurementRequest, frame: Frame, shown_rc: tuple[float, float] | None = None) -> "Target":
        """Target of a request made by the agent; the scan shows it at its pixel, or between pixels at `shown_rc`."""
        shown = frame.to_metres(np.array([shown_rc or (float(request.row), float(request.col))]))[0]
        return Target(request, (request.x_m - float(shown[0]), request.y_m - float(shown[1])))

    @property
    def commanded_xy(self) -> tuple[float, float]:
        """Commanded position (x, y) in metres."""
        return self.request.x_m, self.request.y_m

    @property
    def shown_xy(self) -> tuple[float, float]:
        """Position (x, y) in the scan, in metres."""
        return self.request.x_m - self.correction_m[0], self.request.y_m - self.correction_m[1]


@dataclass(frozen=True, eq=False)
class EnvelopeContext:
    """Everything that the points of a decision are checked against.

    Parameters
    ----------
    frame
        Frame of the scan that the points were chosen from.
    limits
        Limits of the instrument, narrowed by the settings (`narrowed`).
    safety
        Safety settings of the configuration.
    touched_xy
        Shape (m, 2): positions in the scan, in metres, where points of other decisions were measured or tried on the sample.
    touched_elsewhere
        Number of further such points, farther away than `reach` from every target.
    drift_known
        Whether drift is known; if so, distances are taken between positions in the scan, otherwise between commanded positions.
    tried_after_scan
        Number of those points that were tried after this scan.
    asked_before
        Ids of the requests of other decisions.
    bias_V
        Largest magnitude of the bias that the instrument's measurements apply, in volts; None if it does not report it.
    age_s
        Seconds since the scan ended; None if not known.
    """

    frame: Frame
    limits: Limits
    safety: SafetySettings
    touched_xy: Float[np.ndarray, "m 2"] = field(default_factory=lambda: NOWHERE)
    touched_elsewhere: int = 0
    drift_known: bool = False
    tried_after_scan: int = 0
    asked_before: frozenset[str] = frozenset()
    bias_V: float | None = None
    age_s: float | None = None

    @property
    def doses(self) -> set[tuple[int, float]]:
        """Dose limits of the settings and of the instrument, each (largest number of points, radius in metres)."""
        return {(self.safety.dose_max, self.safety.dose_radius_m), (self.limits.dose_max, self.limits.dose_radius_m)}


@dataclass(frozen=True)
class Refusal:
    """A point that must not be measured, the rule that it breaks, and the reason in words."""

    request: MeasurementRequest
    rule: str
    reason: str


@dataclass(frozen=True)
class EnvelopeVerdict:
    """Points that may be measured, and points that may not, each in the given order."""

    passed: tuple[Target, ...]
    refused: tuple[Refusal, ...]


def narrowed(limits: Limits, safety: SafetySettings) -> Limits:
    """Limits that both the instrument and the settings allow.

    If the two dose limits have different radii, the instrument's is kept here; `check` applies both.
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


def check(targets: Sequence[Target], context: EnvelopeContext) -> EnvelopeVerdict:
    """Check targets one after the other; each accepted target counts as measured for those that follow."""
    batch, refused = _Batch(context), []
    for target in targets:
        violation = batch.first_violation(target)
        if violation is None:
            batch.accept(target)
        else:
            refused.append(Refusal(target.request, *violation))
    return EnvelopeVerdict(tuple(batch.accepted), tuple(refused))


def reach(limits: Limits, safety: SafetySettings) -> float:
    """Distance in metres beyond which a measured point cannot decide whether another one may be measured.

    Twice the radius of the dose: a point nearby counts those around it.
    """
    return max(limits.spacing_min_m, 2 * limits.dose_radius_m, 2 * safety.dose_radius_m) * (1 + _ROUNDING)


def within_reach(targets: Sequence[Target], xy: Float[np.ndarray, "m 2"], reach_m: float) -> Bool[np.ndarray, " m"]:
    """True for positions that lie no farther than `reach_m` from the rectangle around all targets."""
    if not targets:
        return np.zeros(len(xy), dtype=bool)
    corners = np.array([xy for target in targets for xy in (target.commanded_xy, target.shown_xy)])
    low, high = corners.min(axis=0) - reach_m, corners.max(axis=0) + reach_m
    return np.asarray(~((xy < low) | (xy > high)).any(axis=1))


def refusals_sentence(rules: Sequence[str], total: int) -> str:
    """Sentence that counts the points left out of `total`, by the rule that each broke; empty if none was."""
    if not rules:
        return ""
    counts = Counter(rules)
    why = ", ".join(f"{counts[rule]} {phrase}" for rule, phrase in RULES.items() if counts[rule])
    return f"{len(rules)} of {total} points were left out for safety: {why}."


class _Batch:
    """Targets accepted so far, and the check whether one more may be added."""

    def __init__(self, context: EnvelopeContext) -> None:
        self._context = context
        self.accepted: list[Target] = []
        self._ids: set[str] = set(context.asked_before)
        self._commanded = NOWHERE
        self._touched = np.asarray(context.touched_xy, dtype=np.float64).reshape(-1, 2)
        # For each dose limit: number of points within its radius of each touched point, itself included.
        self._counts = {dose: neighbour_counts(self._touched, self._touched, dose[1]) for dose in sorted(context.doses)}
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

    def first_violation(self, target: Target) -> tuple[str, str] | None:
        """The first rule that a target breaks, with the reason; None if it may be measured."""
        for rule, violation in self._rules.items():
            if reason := violation(target):
                return rule, reason
        return None

    def accept(self, target: Target) -> None:
        """Count a target as measured from now on."""
        self.accepted.append(target)
        self._ids.add(target.request.request_id)
        here = self._position(target)
        for dose, counts in self._counts.items():
            near = _within(self._touched, here, dose[1])
            self._counts[dose] = np.append(counts + near, near.sum() + 1)
        self._touched = np.concatenate([self._touched, [here]])
        self._commanded = np.concatenate([self._commanded, [target.commanded_xy]])

    def _position(self, target: Target) -> tuple[float, float]:
        return target.shown_xy if self._context.drift_known else target.commanded_xy

    def _bias(self, _: Target) -> str:
        bias_V, most_V = self._context.bias_V, self._context.limits.bias_max_V
        if bias_V is None or bias_V <= most_V:
            return ""
        return (
            f"the instrument measures with {bias_V:g} V, at most {most_V:g} V are allowed; set a smaller bias at the instrument"
        )

    def _scan_age(self, _: Target) -> str:
        age_s, most_s = self._context.age_s, self._context.limits.scan_age_max_s
        if age_s is None or age_s <= most_s:
            return ""
        return f"its scan ended {age_s:.0f} s ago, at most {most_s:.0f} s are allowed; record a new scan"

    def _asked_before(self, target: Target) -> str:
        name = target.request.request_id
        return f"request '{name}' was sent before; no point is measured twice" if name in self._ids else ""

    def _frame(self, target: Target) -> str:
        frame, request = self._context.frame, target.request
        if request.row >= frame.rows or request.col >= frame.cols:
            return f"pixel ({request.row}, {request.col}) is outside the scan of {frame.rows} x {frame.cols} px"
        inside = frame.contains(np.array([target.commanded_xy, target.shown_xy]))
        return "" if inside.all() else f"{_um(target.commanded_xy)} is outside the frame of the scan"

    def _limits(self, target: Target) -> str:
        limits = self._context.limits
        ranges = ((limits.x_min_m, limits.x_max_m), (limits.y_min_m, limits.y_max_m))
        for axis, value, (low, high) in zip("xy", target.commanded_xy, ranges, strict=True):
            if not low <= value <= high:
                return f"{axis} = {value * 1e6:.3f} um is outside the stage's range, {low * 1e6:.3f} to {high * 1e6:.3f} um"
        return ""

    def _drift(self, target: Target) -> str:
        far_m, most_m = math.hypot(*target.correction_m), self._context.safety.drift_max_m
        if far_m <= most_m * (1 + _ROUNDING):
            return ""
        return f"its drift correction is {far_m * 1e9:.1f} nm, at most {most_m * 1e9:.1f} nm are allowed"

    def _spacing(self, target: Target) -> str:
        least_m = self._context.limits.spacing_min_m
        apart_m = _nearest_m(target.commanded_xy, self._commanded)
        if apart_m == 0:
            return f"{_um(target.commanded_xy)} is requested twice"
        nearest_m = min(apart_m, _nearest_m(self._position(target), self._touched))
        if nearest_m >= least_m * (1 - _ROUNDING):
            return ""
        return f"{_um(target.commanded_xy)} is {nearest_m * 1e9:.1f} nm from another point, {least_m * 1e9:.1f} nm are required"

    def _dose(self, target: Target) -> str:
        here = self._position(target)
        for (most, radius_m), counts in self._counts.items():
            near = _within(self._touched, here, radius_m)
            if near.sum() + 1 > most or (counts[near] + 1 > most).any():
                return (
                    f"the dose around {_um(target.commanded_xy)} is reached: at most {most} points within {radius_m * 1e9:.0f} nm"
                )
        return ""

    def _scan_cap(self, _: Target) -> str:
        most = self._context.limits.points_max
        full = len(self.accepted) + self._context.tried_after_scan >= most
        return f"at most {most} points are allowed after one scan" if full else ""

    def _sample_cap(self, _: Target) -> str:
        most = self._context.safety.points_per_sample
        full = most is not None and len(self._touched) + self._context.touched_elsewhere >= most
        return f"at most {most} points are allowed on this sample" if full else ""


def _tighter(choose: Callable[[float, float], float], instrument: float, setting: float | None) -> float:
    return instrument if setting is None else choose(instrument, setting)


def _within(xy: Float[np.ndarray, "m 2"], here: tuple[float, float], radius_m: float) -> Bool[np.ndarray, " m"]:
    return np.asarray(np.hypot(*(xy - np.array(here)).T) <= radius_m)


def _nearest_m(here: tuple[float, float], others: Float[np.ndarray, "m 2"]) -> float:
    return float(np.hypot(*(others - np.array(here)).T).min()) if len(others) else math.inf


def _um(xy: tuple[float, float]) -> str:
    return f"({xy[0] * 1e6:.3f}, {xy[1] * 1e6:.3f}) um"
