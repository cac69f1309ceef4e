"""Display of values in figures and on the dashboard: SI prefixes, grey scales, criteria of the Pareto front."""

import numpy as np
from jaxtyping import Float32

#: Horizontal and vertical criterion of the Pareto front.
CRITERIA = ("bic_gain_per_d", "NMI_rot")
_PREFIXES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"), (1e-12, "p"), (1e-15, "f"))
_PREFIXED_UNITS = frozenset({"m", "V", "A", "Hz", "N", "W", "F", "C", "Pa", "s"})


def prefixed(unit: str, magnitude: float) -> tuple[float, str]:
    """(factor, unit with SI prefix) such that `magnitude` times the factor is between 1 and 1000.

    Units without prefixes ("deg", "", "a.u.") are returned unchanged, as is any unit if the magnitude is 0.
    """
    if unit not in _PREFIXED_UNITS or not np.isfinite(magnitude) or magnitude <= 0:
        return 1.0, unit
    size, prefix = next((p for p in _PREFIXES if p[0] <= magnitude * (1 + 1e-9)), _PREFIXES[-1])
    return 1.0 / size, prefix + unit


def grey_range(image: Float32[np.ndarray, "rows cols"], low_percentile: float, high_percentile: float) -> tuple[float, float]:
    """Values drawn as black and as white: two percentiles of the finite pixels, kept apart if the image is constant."""
    finite = image[np.isfinite(image)]
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(v) for v in np.percentile(finite.astype(np.float64), [low_percentile, high_percentile]))
    return (low, high) if high > low else (low, low + (abs(low) or 1.0))
