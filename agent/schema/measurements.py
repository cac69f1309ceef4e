"""Results measured on a sample in the form in which decisions use them: each a position and a vector of named numbers.

The instrument decides which numbers characterise a result: area of a loop, coercive biases, principal components. Results can be
used together only if they have the same numbers. So the names that more than half of the results have are used; results that lack
one of them are left out and counted by reason.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from instrument_adapters.geometry import Frame
from rewards.base import MeasuredResults
from rewards.evidence import nearby


@dataclass(frozen=True, slots=True)
class Result:
    """Result of one request.

    Parameters
    ----------
    status
        "ok", "skipped" or "failed".
    xy_m
        Position (x, y) in metres, in the coordinates of the instrument.
    parameters
        Numbers by name; the names include the units.
    at_s
        Time of the measurement in POSIX seconds; NaN if unknown.
    judged
        Why the agent does not use the result as evidence ("elsewhere", "unasked", "impossible"); empty if it may.
    """

    status: str
    xy_m: tuple[float, float]
    parameters: Mapping[str, float] = field(default_factory=dict)
    at_s: float = math.nan
    judged: str = ""


@dataclass(frozen=True, eq=False)
class MeasuredOnSample:
    """All results on a sample that can be used together.

    Parameters
    ----------
    xy_m
        Shape (m, 2): positions (x, y) in metres, in the coordinates of the instrument.
    values
        Shape (m, p): numbers in the instrument's units.
    names
        Names of the p numbers, in alphabetical order.
    left_out
        Number of results left out, by reason: "failed", "skipped", "without_parameters", "lacking_a_parameter", "not_finite",
        "elsewhere", "unasked", "impossible".
        Only reasons that occurred are listed.
    at_s
        Shape (m,): times of the measurements in POSIX seconds; NaN if unknown.
    """

    xy_m: Float[np.ndarray, "m 2"]
    values: Float[np.ndarray, "m p"]
    names: tuple[str, ...]
    left_out: Mapping[str, int]
    at_s: Float[np.ndarray, " m"] = field(default_factory=lambda: np.empty(0))

    @classmethod
    def of(cls, results: Sequence[Result]) -> "MeasuredOnSample":
        """The results that can be used together, in the given order."""
        measured = [r for r in results if r.status == "ok" and r.parameters and not r.judged]
        counts = Counter(name for r in measured for name in r.parameters)
        names = tuple(sorted(name for name, count in counts.items() if 2 * count > len(measured)))
        reasons = [_unusable(r, names) for r in results]
        used = [r for r, reason in zip(results, reasons, strict=True) if not reason]
        return cls(
            np.array([r.xy_m for r in used], dtype=np.float64).reshape(-1, 2),
            np.array([[r.parameters[name] for name in names] for r in used], dtype=np.float64).reshape(len(used), len(names)),
            names,
            dict(Counter(reason for reason in reasons if reason)),
            np.array([r.at_s for r in used], dtype=np.float64),
        )

    def near_keypoints(
        self, frame: Frame, keypoints: Iterable[Int[np.ndarray, "n 2"]], near_px: float
    ) -> tuple[MeasuredResults | None, dict[str, int]]:
        """The results near key points of a scan, with which its candidates can be tested.

        Parameters
        ----------
        frame
            Frame of the scan.
        keypoints
            Sets of key points (row, col). A result must lie near a point of each set, so that all candidates are tested with the
            same results.
        near_px
            Largest distance from a key point in pixels.

        Returns
        -------
        The results at their pixels (None if there are none), and the number of results left out by reason: those of `left_out`,
        "outside_frame" and "far_from_key_points".
        """
        inside = frame.contains(self.xy_m)
        in_frame = MeasuredResults(frame.to_pixels(self.xy_m[inside]), self.values[inside], self.names)
        near = in_frame
        for points_rc in keypoints:
            near = nearby(near, points_rc, near_px)
        outside, far = len(inside) - len(in_frame.values), len(in_frame.values) - len(near.values)
        counts = {"outside_frame": outside, "far_from_key_points": far}
        return near if len(near.values) else None, dict(self.left_out) | {reason: n for reason, n in counts.items() if n}


def _unusable(result: Result, names: Sequence[str]) -> str:
    """The reason why a result cannot be used with the others; empty if it can."""
    if result.status != "ok" or result.judged:
        return result.judged or result.status
    if not result.parameters:
        return "without_parameters"
    if not names or any(name not in result.parameters for name in names):
        return "lacking_a_parameter"
    numbers = (*result.xy_m, *(result.parameters[name] for name in names))
    return "" if all(math.isfinite(number) for number in numbers) else "not_finite"


NO_RESULTS = MeasuredOnSample.of(())
