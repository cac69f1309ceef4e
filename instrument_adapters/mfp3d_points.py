"""Which points an MFP-3D may still measure: it remembers every loop that it has begun."""

import numpy as np

from instrument_adapters.errors import LimitError
from instrument_adapters.geometry import Frame
from instrument_adapters.instrument import check_request
from instrument_adapters.messages import Limits, MeasurementRequest


class MeasuredPoints:
    """The points at which loops were begun, in all and since the last scan.

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
        self._since_scan = 0

    def __len__(self) -> int:
        return len(self._points_m)

    def add(self, request: MeasurementRequest) -> None:
        """A loop is begun at this point."""
        self._points_m.append((request.x_m, request.y_m))
        self._since_scan += 1

    def scanned(self) -> None:
        """A new scan was recorded: the count begins anew, the spots stay."""
        self._since_scan = 0

    def admit(self, request: MeasurementRequest) -> None:
        """Do nothing, unless the point must not be measured.

        Raises
        ------
        LimitError
            If it lies outside the stage's range or the frame, too near to a measured point, or is one too many.
        """
        check_request(request, self._limits)
        point = np.array([[request.x_m, request.y_m]])
        where = f"({request.x_m * 1e6:.3f}, {request.y_m * 1e6:.3f}) um"
        if not self._frame.contains(point)[0]:
            raise _refusal(f"{where} is outside the scanned frame; only points inside it can be measured")
        if self._since_scan >= self._limits.points_max:
            raise _refusal(
                f"{self._since_scan} points were measured since the last scan, {self._limits.points_max} are allowed; scan"
            )
        if not self._points_m:
            return
        nearest = float(np.hypot(*(np.array(self._points_m) - point).T).min())
        if nearest < self._limits.spacing_min_m:
            raise _refusal(
                f"{where} is {nearest * 1e9:.0f} nm from a measured point, {self._limits.spacing_min_m * 1e9:.0f} nm are needed; "
                "choose another point"
            )


def _refusal(reason: str) -> LimitError:
    return LimitError(f"{reason}; the point was not measured")
