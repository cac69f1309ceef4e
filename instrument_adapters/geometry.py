"""Conversion between pixels and metres, and the convention for the orientation of scans.

Throughout the project arrays are `[row, col]`. The row runs along the slow axis and the column along the fast axis, both
ascending, with pixel (0, 0) at the lower left of the frame. The pitch is size / (N - 1): the first and the last pixel lie on
the border of the frame (measured on a real MFP-3D file).
"""

import math
from typing import Annotated

import numpy as np
from jaxtyping import Bool, Float
from pydantic import BaseModel, ConfigDict, Field

from instrument_adapters.bounds import Angle, Metres, Side

Finite = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

_BORDER_SLACK = 1e-9  # relative to the frame size, so that rounding does not put the border outside


class Frame(BaseModel):
    """The rectangle that a scan covers, in the instrument's closed-loop metres.

    With f, s the distances from the frame's centre along the fast and the slow axis, and θ the scan angle:
    x = f cosθ + s sinθ + x_offset, y = -f sinθ + s cosθ + y_offset (the rotation of the MFP-3D, as in a public driver).

    Parameters
    ----------
    size_fast_m, size_slow_m
        Side lengths in metres, from the first to the last pixel.
    x_offset_m, y_offset_m
        Centre of the frame in metres.
    angle_rad
        Scan angle θ in radians.
    rows, cols
        Number of lines (slow axis) and of points in a line (fast axis); at least 2 each.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size_fast_m: Side
    size_slow_m: Side
    x_offset_m: Metres = 0.0
    y_offset_m: Metres = 0.0
    angle_rad: Angle = 0.0
    rows: int = Field(ge=2, le=65536)
    cols: int = Field(ge=2, le=65536)

    @property
    def pitch_m(self) -> tuple[float, float]:
        """Distance between neighbouring pixels along (slow, fast), in metres."""
        return self.size_slow_m / (self.rows - 1), self.size_fast_m / (self.cols - 1)

    def to_metres(self, rc: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Positions (x, y) in metres of pixel coordinates (row, col), which may be fractional."""
        slow = rc[:, 0] * self.pitch_m[0] - self.size_slow_m / 2
        fast = rc[:, 1] * self.pitch_m[1] - self.size_fast_m / 2
        c, s = math.cos(self.angle_rad), math.sin(self.angle_rad)
        return np.stack([fast * c + slow * s + self.x_offset_m, -fast * s + slow * c + self.y_offset_m], axis=1)

    def to_pixels(self, xy: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
        """Fractional pixel coordinates (row, col) of positions (x, y) in metres; the inverse of `to_metres`."""
        c, s = math.cos(self.angle_rad), math.sin(self.angle_rad)
        x, y = xy[:, 0] - self.x_offset_m, xy[:, 1] - self.y_offset_m
        fast, slow = x * c - y * s, x * s + y * c
        return np.stack(
            [(slow + self.size_slow_m / 2) / self.pitch_m[0], (fast + self.size_fast_m / 2) / self.pitch_m[1]], axis=1
        )

    def contains(self, xy: Float[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
        """True for each position that lies inside the frame, its border included."""
        rc = self.to_pixels(xy)
        slack = _BORDER_SLACK * np.array([self.rows, self.cols])
        last = np.array([self.rows - 1, self.cols - 1])
        return np.asarray(((rc >= -slack) & (rc <= last + slack)).all(axis=1))
