"""What has been measured on a sample, as decisions may use it: a place and a vector of named numbers for each result.

What a result is, is the instrument's to say: a loop's area, its coercive biases, its principal components. Results can be used
together only where they hold the same numbers, so the names that more than half of them have are taken, and results that lack
one of these are left out. Nothing is left out without being counted.
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
    """What came of one request.

    Parameters
    ----------
    status
        "ok", "skipped" or "failed".
    xy_m
        Where, x and y in metres in the frame of the instrument.
    parameters
        Numbers by name; the names carry the units.
    at_s
        When, as POSIX seconds; NaN where that is not known.
    """

    status: str
    xy_m: tuple[float, float]
    parameters: Mapping[str, float] = field(default_factory=dict)
    at_s: float = math.nan


@dataclass(frozen=True, eq=False)
class MeasuredOnSample:
    """All results on a sample that can be used together.

    Parameters
    ----------
    xy_m
        Shape (m, 2): where, x and y in metres in the frame of the instrument.
    values
        Shape (m, p), in the instrument's units.
    names
        The p names, in alphabetical order.
    left_out
        Reason -> how many results were left out for it: "failed", "skipped", "without_parameters", "lacking_a_parameter",
        "not_finite"; reasons that did not arise are not listed.
    at_s
        Shape (m,): when, as POSIX seconds; NaN where that is not known.
    """

    xy_m: Float[np.ndarray, "m 2"]
    values: Float[np.ndarray, "m p"]
    names: tuple[str, ...]
    left_out: Mapping[str, int]
    at_s: Float[np.ndarray, " m"] = field(default_factory=lambda: np.empty(0))

    @classmethod
    def of(cls, results: Sequence[Result]) -> "MeasuredOnSample":
        """Those of `results` that can be used together, in their order."""
        told = [r for r in results if r.status == "ok" and r.parameters]
        having = Counter(name for r in told for name in r.parameters)
        names = tuple(sorted(name for name, count in having.items() if 2 * count > len(told)))
        reasons = [_unusable(r, names) for r in results]
        used = [r for r, reason in zip(results, reasons, strict=True) if not reason]
        return cls(
            np.array([r.xy_m for r in used], dtype=np.float64).reshape(-1, 2),
            np.array([[r.parameters[name] for name in names] for r in used], dtype=np.float64).reshape(len(used), len(names)),
            names,
            dict(Counter(reason for reason in reasons if reason)),
            np.array([r.at_s for r in used], dtype=np.float64),
        )

    def bearing_on(
        self, frame: Frame, keypoints: Iterable[Int[np.ndarray, "n 2"]], near_px: float
    ) -> tuple[MeasuredResults | None, dict[str, int]]:
        """The results that a scan's representations can be held against, and how many were left out for what reason.

        Parameters
        ----------
        frame
            Of the scan.
        keypoints
            Sets of key points (row, col); results must lie near to one of each, so that all candidates face the same results.
        near_px
            How near.

        Returns
        -------
        The results at their pixels, None where none is left; and `left_out` with "outside_frame" and "far_from_key_points".
        """
        inside = frame.contains(self.xy_m)
        seen = MeasuredResults(frame.to_pixels(self.xy_m[inside]), self.values[inside], self.names)
        near = seen
        for points_rc in keypoints:
            near = nearby(near, points_rc, near_px)
        lost = {"outside_frame": len(inside) - len(seen.values), "far_from_key_points": len(seen.values) - len(near.values)}
        return near if len(near.values) else None, dict(self.left_out) | {reason: n for reason, n in lost.items() if n}


def _unusable(result: Result, names: Sequence[str]) -> str:
    """Why a result cannot be used with the others; empty if it can."""
    if result.status != "ok":
        return result.status
    if not result.parameters:
        return "without_parameters"
    if not names or any(name not in result.parameters for name in names):
        return "lacking_a_parameter"
    numbers = (*result.xy_m, *(result.parameters[name] for name in names))
    return "" if all(math.isfinite(number) for number in numbers) else "not_finite"


NO_RESULTS = MeasuredOnSample.of(())
