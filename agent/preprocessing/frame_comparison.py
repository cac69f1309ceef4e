"""What has changed from the last frame of a place to this one, beyond what drift and measurements explain.

Some faults leave a picture of the surface that no single frame betrays: lines beside their place, lines that were skipped, phases
with an offset, a domain that somebody has written. Held against the last frame of the same place they show. Where there is no
such frame, or it does not show the same, nothing is said.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex, Float, Float32, Int
from scipy import ndimage

from agent.config.quality import ProblemName
from agent.preprocessing.channels import phase_of
from agent.preprocessing.registration import features, register
from instrument_adapters.scan import Scan

_LEAST_ALIKE = 0.85  # median over the lines of the correlation with the last frame, below which nothing is said
_LEAST_AGREEMENT = 0.5  # the same of a single line
_TINY = np.finfo(np.float32).tiny
_REACH_RC = (13, 17)  # how far lines may lie beside their place, in pixels
_HOME_PX = 2  # drift within a frame
_OVER_LINES = 8  # lines that are looked for together
_SHIFTED_PX = 3  # sound lines lie within one or two, drift taken off
_MARGIN = 0.2  # by how much lines agree better beside their place than at it
_LEAST_SHIFTED = 4
_SKIPPED_PX = 3
_BESIDE = (4, 20)  # lines on each side of a skip that are compared: not those that see both sides
_TURNED_DEG = 30.0  # sound frames turn by a few degrees
_LEAST_PHASE_AGREEMENT = 0.5
_WRITTEN = 1.0  # change of the response, relative to the usual response, of a domain that was written
_WRITTEN_PX, _LEAST_WRITTEN_PX = 7, 120  # it fills a square of this side, and so many pixels: walls that moved do not
_LARGEST_SHARE = 0.5  # of a line
_SMOOTHED_PX = 1.5
_BORDER_PX = 10
_MEASURED_PX = 12  # around a measured place: its spot, and drift

#: Problems that a frame hands on to the next one, if that is held against it.
MISLEADING = frozenset({"lines_shifted", "lines_skipped", "phase_turned"})


@dataclass(frozen=True, eq=False)
class _Pair:
    """Two frames of one place, the earlier one moved to where the later one shows the same."""

    scan: Scan
    earlier: Scan
    channel: str
    measured_xy: Float[np.ndarray, "k 2"]
    bad_lines: Bool[np.ndarray, " rows"]
    moved_rc: tuple[float, float]
    shifts: Int[np.ndarray, "rows 2"]
    agreement: Float32[np.ndarray, " rows"]
    at_home: Float32[np.ndarray, " rows"]


Said = tuple[str, Bool[np.ndarray, " rows"] | None]
Check = Callable[[_Pair], Said | None]


def changes(
    scan: Scan,
    earlier: Scan | None,
    channel: str,
    measured_xy: Float[np.ndarray, "k 2"],
    bad_lines: Bool[np.ndarray, " rows"],
) -> dict[ProblemName, Said]:
    """Problem -> what was seen, and which lines are bad.

    Parameters
    ----------
    scan, earlier
        Newly recorded; the last one of the sample, or None.
    channel
        Full name of the main channel.
    measured_xy
        Where the sample has been measured, in metres: measurements leave spots.
    bad_lines
        Shape (rows,): True for lines that are known to be bad.
    """
    pair = _paired(scan, earlier, channel, measured_xy, bad_lines)
    if pair is None:
        return {}
    return {name: said for name, check in _CHECKS.items() if (said := check(pair)) is not None}


def line_shifts(
    before: Float[np.ndarray, "rows cols"], now: Float[np.ndarray, "rows cols"]
) -> tuple[Int[np.ndarray, "rows 2"], Float32[np.ndarray, " rows"], Float32[np.ndarray, " rows"]]:
    """By how many pixels (rows, columns) the lines of `now` lie beside those of `before`; correlation there, and at home.

    Parameters
    ----------
    before, now
        Shape (rows, cols): features without mean, as of `registration.features`.
    """
    (far_r, far_c), (rows, cols) = _REACH_RC, now.shape
    padded = np.pad(before, ((far_r, far_r), (0, 0))).astype(np.float32)
    inside = now[:, far_c : cols - far_c].astype(np.float32)
    found = np.empty((2 * far_r + 1, 2 * far_c + 1, rows), np.float32)
    for c in range(2 * far_c + 1):
        other = padded[:, c : c + cols - 2 * far_c]
        own = _over_lines(np.einsum("rc,rc->r", other, other))
        for r in range(2 * far_r + 1):
            both = np.einsum("rc,rc->r", inside, other[r : r + rows])
            found[r, c] = _over_lines(both) / np.sqrt(np.maximum(own[r : r + rows], _TINY))
    found /= np.sqrt(np.maximum(_over_lines(np.einsum("rc,rc->r", inside, inside)), _TINY))
    best = found.reshape(-1, rows).argmax(axis=0)
    at_r, at_c = np.unravel_index(best, found.shape[:2])
    home = found[far_r - _HOME_PX : far_r + _HOME_PX + 1, far_c - _HOME_PX : far_c + _HOME_PX + 1].max(axis=(0, 1))
    # what `before` shows at r - far_r is found at offset r: the lines have moved the other way
    return np.stack([far_r - at_r, far_c - at_c], axis=1), found.reshape(-1, rows).max(axis=0), home


def _over_lines(values: Float32[np.ndarray, " rows"]) -> Float32[np.ndarray, " rows"]:
    return np.asarray(ndimage.uniform_filter1d(values, _OVER_LINES, mode="constant"))


def _paired(scan: Scan, earlier: Scan | None, channel: str, measured_xy: np.ndarray, bad_lines: np.ndarray) -> _Pair | None:
    if earlier is None or earlier.frame != scan.frame or channel not in earlier.channels:
        return None
    found = register(earlier.channels[channel], scan.channels[channel])
    before, now = features(earlier.channels[channel]), features(scan.channels[channel])
    if found is None or before is None or now is None or found.agreement < _LEAST_AGREEMENT / 2:
        return None
    if min(now.shape) < 4 * max(_REACH_RC):
        return None
    shifts, agreement, at_home = line_shifts(ndimage.shift(before, np.rint(found.moved_rc), order=0), now)
    if np.median(agreement) < _LEAST_ALIKE:
        return None
    near_bad = np.asarray(ndimage.binary_dilation(bad_lines, iterations=_OVER_LINES))
    return _Pair(scan, earlier, channel, measured_xy, near_bad, found.moved_rc, shifts, agreement, at_home)


def _lines_shifted(pair: _Pair) -> Said | None:
    across = pair.shifts[:, 1] - np.median(pair.shifts[:, 1])
    far = (np.abs(across) >= _SHIFTED_PX) & (np.abs(pair.shifts[:, 1]) < _REACH_RC[1])
    far &= ~pair.bad_lines & (pair.agreement >= _LEAST_AGREEMENT) & (pair.agreement - pair.at_home >= _MARGIN)
    bands, count = ndimage.label(far)
    for band in range(1, count + 1):
        if (bands == band).sum() < _LEAST_SHIFTED:
            far[bands == band] = False
    if not far.any():
        return None
    by_px = np.median(np.abs(across[far]))
    far = np.asarray(ndimage.binary_dilation(far, iterations=_OVER_LINES // 2))  # the outermost saw lines at their place too
    at = np.flatnonzero(far)
    return f"{len(at)} lines ({at[0]} to {at[-1]}) lie {by_px:.0f} px beside where the last frame has them", far


def _lines_skipped(pair: _Pair) -> Said | None:
    near, far = _BESIDE
    along = np.where(pair.agreement >= _LEAST_AGREEMENT, pair.shifts[:, 0], np.nan)
    steps = np.zeros(len(along))
    for r in range(far, len(along) - far + 1):
        sides = (along[r + near : r + far], along[r - far : r - near], along[r + near :], along[: r - near])
        if min(np.isfinite(side).mean() for side in sides) < 0.5:
            continue
        beside, whole = (float(np.nanmedian(a) - np.nanmedian(b)) for a, b in (sides[:2], sides[2:]))
        if beside * whole > 0:
            steps[r] = np.sign(beside) * min(abs(beside), abs(whole))
    at = int(np.abs(steps).argmax())
    if abs(steps[at]) < _SKIPPED_PX:
        return None
    by = f"{abs(steps[at]):.0f} lines"
    return f"from about line {at} on everything lies {by} beside where the last frame has it: were lines skipped?", None


def _phase_turned(pair: _Pair) -> Said | None:
    before, now = _response(pair.earlier, pair.channel), _response(pair.scan, pair.channel)
    if before is None or now is None:
        return None
    before = _moved(before, pair.moved_rc)
    known = np.isfinite(before) & np.isfinite(now)
    common = np.vdot(before[known], now[known])
    turned = float(np.rad2deg(np.angle(common)))
    agreement = abs(common) / max(float(np.linalg.norm(before[known]) * np.linalg.norm(now[known])), np.finfo(float).tiny)
    if abs(turned) < _TURNED_DEG or agreement < _LEAST_PHASE_AGREEMENT:
        return None
    return f"all phases are turned by {turned:.0f} degrees against the last frame: was an offset changed?", None


def _written(pair: _Pair) -> Said | None:
    before, now = _response(pair.earlier, pair.channel), _response(pair.scan, pair.channel)
    if before is None or now is None:
        return None
    before = _moved(before, pair.moved_rc)
    change = _change(before, now)
    known = np.isfinite(change)
    change = np.where(known, change, 0.0)
    size = np.hypot(*(ndimage.gaussian_filter(part, _SMOOTHED_PX) for part in (change.real, change.imag)))
    changed = (size > _WRITTEN * np.sqrt(np.nanmean(np.abs(before) ** 2))) & known & _unmeasured(pair)
    # Lines that have changed in most places, or lie elsewhere, have met something else than a pen.
    in_place = np.abs(pair.shifts - np.median(pair.shifts, axis=0)) < _SHIFTED_PX
    as_before = ~pair.bad_lines & (pair.agreement >= _LEAST_AGREEMENT) & in_place.all(axis=1)
    changed &= (as_before & (changed.mean(axis=1) < _LARGEST_SHARE))[:, None]
    patches, count = ndimage.label(ndimage.binary_opening(changed, np.ones((_WRITTEN_PX, _WRITTEN_PX))))
    areas = np.bincount(patches.ravel())[1:]
    if not count or areas.max() < _LEAST_WRITTEN_PX:
        return None
    row, col = (int(v) for v in ndimage.center_of_mass(patches == areas.argmax() + 1))
    where = f"{areas.max()} px around row {row}, column {col}"
    return f"{where} respond otherwise than in the last frame, and nothing was measured there: has somebody written?", None


_CHECKS: Mapping[ProblemName, Check] = {
    "lines_shifted": _lines_shifted,
    "lines_skipped": _lines_skipped,
    "phase_turned": _phase_turned,
    "written": _written,
}


def _change(before: np.ndarray, now: np.ndarray) -> Complex[np.ndarray, "rows cols"]:
    """What has been added to the response: gain, line by line, and phase of the later frame are made those of the earlier one."""
    known = np.isfinite(before) & np.isfinite(now)
    turned = np.exp(-1j * np.angle(np.vdot(before[known], now[known])))
    size_before, size_now = (_line_medians(np.where(known, np.abs(image), np.nan)) for image in (before, now))
    usable = np.minimum(size_before, size_now) > 0
    gain = np.divide(size_now, size_before, out=np.ones(len(before)), where=usable)
    change = turned * np.where(known, now, 0.0) / gain[:, None] - np.where(known, before, 0.0)
    return np.where(known & usable[:, None], change, np.nan)


def _line_medians(image: np.ndarray) -> Float[np.ndarray, " rows"]:
    """Of the numbers in each line; 0 where there are none."""
    some = np.isfinite(image).any(axis=1)
    medians = np.zeros(len(image))
    medians[some] = np.nanmedian(image[some], axis=1)
    return medians


def _response(scan: Scan, channel: str) -> Complex[np.ndarray, "rows cols"] | None:
    """Amplitude and phase as one complex number; None where there is no phase in degrees."""
    name = phase_of(scan, channel)
    if name is None or scan.units.get(name) != "deg":
        return None
    return np.asarray(scan.channels[channel] * np.exp(1j * np.deg2rad(scan.channels[name].astype(np.float64))))


def _moved(image: np.ndarray, moved_rc: tuple[float, float]) -> np.ndarray:
    return np.asarray(
        ndimage.shift(image.real, moved_rc, order=1, cval=np.nan) + 1j * ndimage.shift(image.imag, moved_rc, order=1, cval=np.nan)
    )


def _unmeasured(pair: _Pair) -> Bool[np.ndarray, "rows cols"]:
    """Pixels far from border and measured places."""
    frame = pair.scan.frame
    free = np.zeros((frame.rows, frame.cols), np.bool_)
    free[_BORDER_PX:-_BORDER_PX, _BORDER_PX:-_BORDER_PX] = True
    rows, cols = np.ogrid[: frame.rows, : frame.cols]
    for row, col in frame.to_pixels(np.asarray(pair.measured_xy, dtype=np.float64).reshape(-1, 2)):
        free &= np.hypot(rows - row, cols - col) > _MEASURED_PX
    return free
