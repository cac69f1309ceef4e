"""Which points an MFP-3D may still measure: it remembers every loop that it has begun since the last scan.

Where loops of earlier scans lie by now, after hours of drift, only who compares scans can tell: that is for the agent.
"""

import numpy as np

from instrument_adapters.errors import LimitError
from instrument_adapters.geometry import Frame
from instrument_adapters.instrument import check_request
from instrument_adapters.protocol.messages import Limits, MeasurementRequest


class MeasuredPoints:
    """The points at which loops were begun: since the last scan where, and in all how many.

    Parameters
    ----------
    frame
        Only points inside it may be measured.
    limits
        Range, spacing and number.
    """

    def __init__(self, frame: Frame, limits: Limits) -> None:
        self._frame, self._limits = frame, limits
        self._points_m: list[tuple[float, float]] = []
        self._begun = 0

    def __len__(self) -> int:
        """Loops that were begun in all."""
        return self._begun

    def add(self, request: MeasurementRequest) -> None:
        """A loop is begun at this point."""
        self._points_m.append((request.x_m, request.y_m))
        self._begun += 1

    def scanned(self) -> None:
        """A new scan was recorded; it shows what earlier loops have left, and where."""
        self._points_m.clear()

    def admit(self, request: MeasurementRequest) -> None:
        """Do nothing, unless the point must not be measured.

        Raises
        ------
        LimitError
            If it lies outside the stage's range or the frame, too near to one measured since the last scan, or is one too many.
        """
        check_request(request, self._limits)
        point = np.array([[request.x_m, request.y_m]])
        where = f"({request.x_m * 1e6:.3f}, {request.y_m * 1e6:.3f}) um"
        if not self._frame.contains(point)[0]:
            raise _refusal(f"{where} is outside the scanned frame; only points inside it can be measured")
        if len(self._points_m) >= self._limits.points_max:
            raise _refusal(
                f"{len(self._points_m)} points were measured since the last scan, {self._limits.points_max} are allowed; scan"
            )
        if not self._points_m:
            return
        nearest = float(np.hypot(*(np.array(self._points_m) - point).T).min())
        if nearest < self._limits.spacing_min_m:
            needed = f"{self._limits.spacing_min_m * 1e9:.0f} nm are needed; choose another point"
            raise _refusal(f"{where} is {nearest * 1e9:.0f} nm from one measured since the last scan, {needed}")


def _refusal(reason: str) -> LimitError:
    return LimitError(f"{reason}; the point was not measured")
