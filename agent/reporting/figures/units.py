"""How values are shown, in figures and on the page: units with a sensible prefix, grey scales, the criteria of a front."""

import numpy as np
from jaxtyping import Float32

#: Horizontal and vertical criterion.
CRITERIA = ("bic_gain_per_d", "NMI_rot")
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))
_PREFIXED_UNITS = frozenset({"m", "V", "A", "Hz", "N", "W", "F", "C", "Pa", "s"})


def prefixed(unit: str, magnitude: float) -> tuple[float, str]:
    """(factor, unit) such that values of `magnitude` times the factor are between 1 and 1000 in the unit returned.

    Units that take no prefix ("deg", "", a detector's "a.u.") are returned as they are, and so is any magnitude of 0.
    """
    if unit not in _PREFIXED_UNITS or not np.isfinite(magnitude) or magnitude <= 0:
        return 1.0, unit
    size, prefix = next((p for p in _PREFIXES if p[0] <= magnitude * (1 + 1e-9)), _PREFIXES[-1])
    return 1.0 / size, prefix + unit


def grey_range(image: Float32[np.ndarray, "rows cols"], low_percentile: float, high_percentile: float) -> tuple[float, float]:
    """The values drawn black and white: two percentiles of what is finite, kept apart where the image is constant."""
    finite = image[np.isfinite(image)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite.astype(np.float64), [low_percentile, high_percentile]))
    return (low, high) if high > low else (low, low + (abs(low) or 1.0))
