"""Decides which points an MFP-3D may still measure, from the loops begun since the last scan.

Positions of earlier loops are unknown after hours of drift unless scans are compared, which is the agent's task.
"""

import numpy as np

from instrument_adapters.errors import LimitError
from instrument_adapters.geometry import Frame
from instrument_adapters.instrument import check_request
from instrument_adapters.protocol.messages import Limits, MeasurementRequest


class MeasuredPoints:
    """Positions of the loops begun since the last scan, and the total number of loops.

    Parameters
    ----------
    frame
        Scanned frame; only points inside it may be measured.
    limits
        Limits of range, spacing and number of points.
    """

    def __init__(self, frame: Frame, limits: Limits) -> None:
        self._frame, self._limits = frame, limits
        self._points_m: list[tuple[float, float]] = []
        self._begun = 0

    def __len__(self) -> int:
        """Total number of loops begun."""
        return self._begun

    def add(self, request: MeasurementRequest) -> None:
        """Record that a loop is begun at this point."""
        self._points_m.append((request.x_m, request.y_m))
        self._begun += 1

    def reset(self) -> None:
        """Forget the positions after a new scan, since it shows the spots that earlier loops have written."""
        self._points_m.clear()

    def check(self, request: MeasurementRequest) -> None:
        """Raise an error if the point must not be measured.

        Raises
        ------
        LimitError
            If it lies outside the stage's range or the frame, is too near to a point measured since the last scan, or exceeds the
            allowed number of points.
        """
        check_request(request, self._limits)
        point = np.array([[request.x_m, request.y_m]])
        where = f"({request.x_m * 1e6:.3f}, {request.y_m * 1e6:.3f}) um"
        if not self._frame.contains(point)[0]:
            raise _refusal(f"{where} is outside the scanned frame; only points inside it can be measured")
        if len(self._points_m) >= self._limits.points_max:
            raise _refusal(
                f"{len(self._points_m)} points were measured since the last scan, {self._limits.points_max} are allowed"
            )
        if not self._points_m:
            return
        nearest = float(np.hypot(*(np.array(self._points_m) - point).T).min())
        if nearest < self._limits.spacing_min_m:
            needed = f"{self._limits.spacing_min_m * 1e9:.0f} nm are needed; choose another point"
            raise _refusal(f"{where} is {nearest * 1e9:.0f} nm from one measured since the last scan, {needed}")


def _refusal(reason: str) -> LimitError:
    return LimitError(f"{reason}; the point was not measured")
