"""Changes from the previous scan of a place to this one, beyond drift and the spots of measurements.

Some faults leave an image that looks sound by itself: shifted or skipped lines, a phase offset, a written domain. They show in a
comparison with the previous scan of the same place. Without such a scan, or if it differs too much, nothing is reported.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex, Float, Float32, Int
from scipy import ndimage

from agent.config.quality import ProblemName
from agent.preprocessing.channels import recorded_phase_of
from agent.preprocessing.registration import ScanPair, band_pass
from instrument_adapters.scan import Scan

_MIN_MEDIAN_AGREEMENT = 0.85  # median over the lines of the correlation with the previous scan, below which nothing is reported
_MIN_AGREEMENT = 0.5  # the same for a single line
_TINY = np.finfo(np.float32).tiny
_SEARCH_RC = (13, 17)  # largest shift of a line that is searched for, in pixels
_IN_PLACE_PX = 2  # drift within a scan
_LINES_TOGETHER = 8  # lines that are matched as one block
_SHIFTED_PX = 3  # lines of sound scans shift by one or two pixels after drift correction
_MARGIN = 0.2  # by how much the correlation of a shifted line exceeds that of the same line in place
_MIN_SHIFTED_LINES = 4
_SKIPPED_PX = 3
_BESIDE_SKIP = (4, 20)  # lines on each side of a skip that are compared; the blocks of nearer lines contain both sides
_TURNED_DEG = 30.0  # phases of sound scans turn by a few degrees
_MIN_PHASE_AGREEMENT = 0.5
_WRITTEN = 1.0  # change of the response in a written domain, relative to the usual response
_WRITTEN_PX, _MIN_WRITTEN_PX = 7, 120  # such a domain fills a square of this side and so many pixels; moved walls do not
_MAX_CHANGED_SHARE = 0.5  # of a line
_SMOOTHING_PX = 1.5
_BORDER_PX = 10
_MEASURED_PX = 12  # radius around a measured position, for its spot and the drift

#: Problems of a scan that would show again in the comparison of the next scan with it.
MISLEADING = frozenset({"lines_shifted", "lines_skipped", "phase_turned"})


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Two scans of one place and the shifts between their lines.

    Parameters
    ----------
    scan, earlier
        The new scan and the previous one.
    channel
        Full name of the main channel.
    measured_xy
        Shape (k, 2): measured positions in metres.
    bad_lines
        Shape (rows,): True at and near lines that are known to be bad.
    shift_rc
        Shift of the new scan against the previous one, in pixels.
    line_shifts
        Shape (rows, 2): further shift of each line, in pixels.
    agreement, in_place
        Shape (rows,): correlation of each line with the previous scan at its shift, and without one.
    """

    scan: Scan
    earlier: Scan
    channel: str
    measured_xy: Float[np.ndarray, "k 2"]
    bad_lines: Bool[np.ndarray, " rows"]
    shift_rc: tuple[float, float]
    line_shifts: Int[np.ndarray, "rows 2"]
    agreement: Float32[np.ndarray, " rows"]
    in_place: Float32[np.ndarray, " rows"]


Finding = tuple[str, Bool[np.ndarray, " rows"] | None]  # a sentence, and the lines that are bad
Check = Callable[[_Comparison], Finding | None]


def changes(
    pair: ScanPair, measured_xy: Float[np.ndarray, "k 2"], bad_lines: Bool[np.ndarray, " rows"]
) -> dict[ProblemName, Finding]:
    """Problem -> a sentence on what was seen, and the bad lines (None if the problem is not in certain lines).

    Parameters
    ----------
    pair
        The new scan and the previous scan of the sample, in the main channel.
    measured_xy
        Shape (k, 2): positions measured on the sample, in metres; measurements leave spots.
    bad_lines
        Shape (rows,): True for lines that are known to be bad.
    """
    compared = _compared(pair, measured_xy, bad_lines)
    if compared is None:
        return {}
    return {name: finding for name, check in _CHECKS.items() if (finding := check(compared)) is not None}


def line_shifts(
    before: Float[np.ndarray, "rows cols"], now: Float[np.ndarray, "rows cols"]
) -> tuple[Int[np.ndarray, "rows 2"], Float32[np.ndarray, " rows"], Float32[np.ndarray, " rows"]]:
    """Shift (rows, columns) in pixels of each line of `now` against `before`, and its correlation with and without the shift.

    Parameters
    ----------
    before, now
        Shape (rows, cols): images of mean zero, as returned by `registration.band_pass`.
    """
    (far_r, far_c), (rows, cols) = _SEARCH_RC, now.shape
    padded = np.pad(before, ((far_r, far_r), (0, 0))).astype(np.float32)
    inside = now[:, far_c : cols - far_c].astype(np.float32)
    correlation = np.empty((2 * far_r + 1, 2 * far_c + 1, rows), np.float32)
    for c in range(2 * far_c + 1):
        other = padded[:, c : c + cols - 2 * far_c]
        own = _block_mean(np.einsum("rc,rc->r", other, other))
        for r in range(2 * far_r + 1):
            both = np.einsum("rc,rc->r", inside, other[r : r + rows])
            correlation[r, c] = _block_mean(both) / np.sqrt(np.maximum(own[r : r + rows], _TINY))
    correlation /= np.sqrt(np.maximum(_block_mean(np.einsum("rc,rc->r", inside, inside)), _TINY))
    best = correlation.reshape(-1, rows).argmax(axis=0)
    at_r, at_c = np.unravel_index(best, correlation.shape[:2])
    near_r, near_c = (slice(far - _IN_PLACE_PX, far + _IN_PLACE_PX + 1) for far in (far_r, far_c))
    in_place = correlation[near_r, near_c].max(axis=(0, 1))
    # What `before` shows at r - far_r is found at offset r, so the lines have shifted the other way.
    return np.stack([far_r - at_r, far_c - at_c], axis=1), correlation.reshape(-1, rows).max(axis=0), in_place


def _block_mean(values: Float32[np.ndarray, " rows"]) -> Float32[np.ndarray, " rows"]:
    return np.asarray(ndimage.uniform_filter1d(values, _LINES_TOGETHER, mode="constant"))


def _compared(pair: ScanPair, measured_xy: np.ndarray, bad_lines: np.ndarray) -> _Comparison | None:
    scan, earlier, channel, found = pair.scan, pair.earlier, pair.channel, pair.registration
    if earlier is None or found is None or found.agreement < _MIN_AGREEMENT / 2:
        return None
    before, now = band_pass(earlier.channels[channel]), band_pass(scan.channels[channel])
    if before is None or now is None or min(now.shape) < 4 * max(_SEARCH_RC):
        return None
    shifts, agreement, in_place = line_shifts(ndimage.shift(before, np.rint(found.shift_rc), order=0), now)
    if np.median(agreement) < _MIN_MEDIAN_AGREEMENT:
        return None
    near_bad = np.asarray(ndimage.binary_dilation(bad_lines, iterations=_LINES_TOGETHER))
    return _Comparison(scan, earlier, channel, measured_xy, near_bad, found.shift_rc, shifts, agreement, in_place)


def _lines_shifted(compared: _Comparison) -> Finding | None:
    along_line = compared.line_shifts[:, 1]
    across = along_line - np.median(along_line)
    shifted = (np.abs(across) >= _SHIFTED_PX) & (np.abs(along_line) < _SEARCH_RC[1])
    shifted &= ~compared.bad_lines & (compared.agreement >= _MIN_AGREEMENT)
    shifted &= compared.agreement - compared.in_place >= _MARGIN
    bands, count = ndimage.label(shifted)
    for band in range(1, count + 1):
        if (bands == band).sum() < _MIN_SHIFTED_LINES:
            shifted[bands == band] = False
    if not shifted.any():
        return None
    by_px = np.median(np.abs(across[shifted]))
    # The blocks of the outermost shifted lines contain lines in place too.
    shifted = np.asarray(ndimage.binary_dilation(shifted, iterations=_LINES_TOGETHER // 2))
    at = np.flatnonzero(shifted)
    return (
        f"{len(at)} lines ({at[0]} to {at[-1]}) are shifted by {by_px:.0f} px along the line, compared with the last scan",
        shifted,
    )


def _lines_skipped(compared: _Comparison) -> Finding | None:
    near, far = _BESIDE_SKIP
    along = np.where(compared.agreement >= _MIN_AGREEMENT, compared.line_shifts[:, 0], np.nan)
    steps = np.zeros(len(along))
    for r in range(far, len(along) - far + 1):
        sides = (along[r + near : r + far], along[r - far : r - near], along[r + near :], along[: r - near])
        if min(np.isfinite(side).mean() for side in sides) < 0.5:
            continue
        local, overall = (float(np.nanmedian(a) - np.nanmedian(b)) for a, b in (sides[:2], sides[2:]))
        if local * overall > 0:
            steps[r] = np.sign(local) * min(abs(local), abs(overall))
    at = int(np.abs(steps).argmax())
    if abs(steps[at]) < _SKIPPED_PX:
        return None
    by = f"{abs(steps[at]):.0f} lines"
    return f"from about line {at} on, the image is shifted by {by} compared with the last scan; lines were probably skipped", None


def _phase_turned(compared: _Comparison) -> Finding | None:
    before, now = _response(compared.earlier, compared.channel), _response(compared.scan, compared.channel)
    if before is None or now is None:
        return None
    before = _shifted(before, compared.shift_rc)
    known = np.isfinite(before) & np.isfinite(now)
    common = np.vdot(before[known], now[known])
    turned = float(np.rad2deg(np.angle(common)))
    agreement = abs(common) / max(float(np.linalg.norm(before[known]) * np.linalg.norm(now[known])), np.finfo(float).tiny)
    if abs(turned) < _TURNED_DEG or agreement < _MIN_PHASE_AGREEMENT:
        return None
    return f"all phases differ by {turned:.0f} degrees from the last scan; the phase offset was probably changed", None


def _domain_written(compared: _Comparison) -> Finding | None:
    before, now = _response(compared.earlier, compared.channel), _response(compared.scan, compared.channel)
    if before is None or now is None:
        return None
    before = _shifted(before, compared.shift_rc)
    change = _change(before, now)
    known = np.isfinite(change)
    change = np.where(known, change, 0.0)
    size = np.hypot(*(ndimage.gaussian_filter(part, _SMOOTHING_PX) for part in (change.real, change.imag)))
    changed = (size > _WRITTEN * np.sqrt(np.nanmean(np.abs(before) ** 2))) & known & _unmeasured(compared)
    # Lines that are shifted, or have changed over most of their length, have another cause than writing.
    in_place = np.abs(compared.line_shifts - np.median(compared.line_shifts, axis=0)) < _SHIFTED_PX
    comparable = ~compared.bad_lines & (compared.agreement >= _MIN_AGREEMENT) & in_place.all(axis=1)
    changed &= (comparable & (changed.mean(axis=1) < _MAX_CHANGED_SHARE))[:, None]
    patches, count = ndimage.label(ndimage.binary_opening(changed, np.ones((_WRITTEN_PX, _WRITTEN_PX))))
    areas = np.bincount(patches.ravel())[1:]
    if not count or areas.max() < _MIN_WRITTEN_PX:
        return None
    row, col = (int(v) for v in ndimage.center_of_mass(patches == areas.argmax() + 1))
    where = f"{areas.max()} px around row {row}, column {col}"
    return (
        f"the response of {where} has changed since the last scan although nothing was measured there; was a domain written?",
        None,
    )


_CHECKS: Mapping[ProblemName, Check] = {
    "lines_shifted": _lines_shifted,
    "lines_skipped": _lines_skipped,
    "phase_turned": _phase_turned,
    "written": _domain_written,
}


def _change(before: np.ndarray, now: np.ndarray) -> Complex[np.ndarray, "rows cols"]:
    """Change of the response, after gain (line by line) and phase of the later scan are matched to those of the earlier one."""
    known = np.isfinite(before) & np.isfinite(now)
    turned = np.exp(-1j * np.angle(np.vdot(before[known], now[known])))
    size_before, size_now = (_line_medians(np.where(known, np.abs(image), np.nan)) for image in (before, now))
    usable = np.minimum(size_before, size_now) > 0
    gain = np.divide(size_now, size_before, out=np.ones(len(before)), where=usable)
    change = turned * np.where(known, now, 0.0) / gain[:, None] - np.where(known, before, 0.0)
    return np.where(known & usable[:, None], change, np.nan)


def _line_medians(image: np.ndarray) -> Float[np.ndarray, " rows"]:
    """Median of the finite values of each line; 0 where there are none."""
    known = np.isfinite(image).any(axis=1)
    medians = np.zeros(len(image))
    medians[known] = np.nanmedian(image[known], axis=1)
    return medians


def _response(scan: Scan, channel: str) -> Complex[np.ndarray, "rows cols"] | None:
    """Complex response of each pixel from amplitude and phase; None if the scan has no recorded phase in degrees."""
    name = recorded_phase_of(scan, channel)
    if name is None or scan.units.get(name) != "deg":
        return None
    return np.asarray(scan.channels[channel] * np.exp(1j * np.deg2rad(scan.channels[name].astype(np.float64))))


def _shifted(image: np.ndarray, shift_rc: tuple[float, float]) -> np.ndarray:
    return np.asarray(
        ndimage.shift(image.real, shift_rc, order=1, cval=np.nan) + 1j * ndimage.shift(image.imag, shift_rc, order=1, cval=np.nan)
    )


def _unmeasured(compared: _Comparison) -> Bool[np.ndarray, "rows cols"]:
    """True for pixels away from the border and from measured positions."""
    frame = compared.scan.frame
    free = np.zeros((frame.rows, frame.cols), np.bool_)
    free[_BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX] = True
    rows, cols = np.ogrid[: frame.rows, : frame.cols]
    for row, col in frame.to_pixels(np.asarray(compared.measured_xy, dtype=np.float64).reshape(-1, 2)):
        free &= np.hypot(rows - row, cols - col) > _MEASURED_PX
    return free
