"""Is a frame fit to be decided on? What is wrong with it, on which lines, and what is done about it.

A frame that went wrong looks like one that is full of types: lost lines, a swapped label or a blunted tip all make clusters. So
each frame is inspected before anything is trained on it. Every problem has a name, a sentence that says what was seen, and an
action: its lines are left out ("mask"), a new frame is asked for ("rescan"), nothing is done until a person has looked ("skip"),
or it is told and the decision goes on ("warn"). What a check cannot tell from a sound frame it lets pass.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import fft

from agent.config.quality import Action, ProblemName, QualitySettings
from agent.preprocessing.channels import phase_of
from agent.preprocessing.frame_comparison import changes
from agent.preprocessing.line_artifacts import flat_lines
from instrument_adapters.scan import Scan

# What an instrument can have measured at all, by what a channel's name begins with and the unit that it says it is in.
_PLAUSIBLE = {("amplitude", "m"): (1e-14, 1e-6), ("height", "m"): (1e-12, 1e-4), ("frequency", "Hz"): (1e3, 1e8)}
_NEGATIVE = 0.25  # how far an amplitude may reach below zero, over how far above: noise and offsets do
_STEADY = 1e-3  # spread of the frequency along a line, over that of the usual line, while the tracker stands still
_LEAST_SPREAD_HZ = 1.0
_DARK = 0.25
_LEAST_LINE_PX = 16  # the spread of shorter lines says little
_ACROSS = 3.0  # steps between columns over steps between lines; of the frequency, sound frames have a ninth and less
_HIGH, _MIDDLE = (0.12, 0.25), (0.03, 0.08)  # bands of the spectrum in cycles a pixel
_FINEST = 0.4  # from here on noise only
NOWHERE: Float[np.ndarray, "0 2"] = np.empty((0, 2))


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a frame.

    Parameters
    ----------
    name, action
        Which, and what is done about it.
    sentence
        What was seen, where, and what to do.
    """

    name: ProblemName
    action: Action
    sentence: str


@dataclass(frozen=True, eq=False)
class Quality:
    """What an inspection found.

    Parameters
    ----------
    problems
        The most serious first; none of a sound frame.
    bad_lines
        Shape (rows,): True for lines that no patch may touch.
    sharpness
        Power of fine structure over that of coarse structure, noise taken off; None where there is no contrast.
    content
        Digest of the main channel, so that a frame that comes twice is known.
    """

    problems: tuple[Problem, ...]
    bad_lines: Bool[np.ndarray, " rows"]
    sharpness: float | None
    content: str

    @property
    def fatal(self) -> Problem | None:
        """The most serious problem that forbids a decision; None if the frame can be used."""
        return next((p for p in self.problems if p.action in ("skip", "rescan")), None)


@dataclass
class _Inspection:
    """A frame under inspection, and what was found so far."""

    scan: Scan
    channel: str
    settings: QualitySettings
    sharpness_before: float | None
    content_before: str | None
    bad_lines: Bool[np.ndarray, " rows"] = field(init=False)
    sharpness: float | None = field(init=False)
    content: str = field(init=False)

    def __post_init__(self) -> None:
        self.bad_lines = np.zeros(self.scan.frame.rows, np.bool_)
        self.sharpness = sharpness(self.image)
        self.content = hashlib.sha256(np.ascontiguousarray(self.image).tobytes()).hexdigest()[:16]

    @property
    def image(self) -> Float32[np.ndarray, "rows cols"]:
        return self.scan.channels[self.channel]


Check = Callable[[_Inspection], str | None]


def inspect(
    scan: Scan,
    channel: str,
    settings: QualitySettings = QualitySettings(),
    *,
    sharpness_before: float | None = None,
    content_before: str | None = None,
    earlier: Scan | None = None,
    measured_xy: Float[np.ndarray, "k 2"] = NOWHERE,
) -> Quality:
    """What is wrong with `scan`.

    Parameters
    ----------
    scan
        Newly recorded.
    channel
        Full name of the main channel.
    settings
        Thresholds, and what is done about each problem.
    sharpness_before, content_before
        Of the last frame of the same sample, if there was one.
    earlier, measured_xy
        That frame itself, and where the sample has been measured, in metres: what else has changed since is told.
    """
    seen = _Inspection(scan, channel, settings, sharpness_before, content_before)
    found = [Problem(name, settings.action(name), said) for name, check in _CHECKS.items() if (said := check(seen))]
    if not any(p.action in ("skip", "rescan") for p in found):
        for name, (said, lines) in changes(scan, earlier, channel, measured_xy, seen.bad_lines).items():
            found.append(Problem(name, settings.action(name), said))
            if lines is not None and settings.action(name) == "mask":
                seen.bad_lines |= lines
    if seen.bad_lines.mean() > settings.most_bad_lines:
        found = [Problem(p.name, "rescan" if p.action == "mask" else p.action, p.sentence) for p in found]
    masked = {p.name for p in found if p.action == "mask"}
    bad = seen.bad_lines if masked else np.zeros_like(seen.bad_lines)
    found.sort(key=lambda p: ("skip", "rescan", "mask", "warn").index(p.action))
    return Quality(tuple(found), bad, seen.sharpness, seen.content)


def sharpness(image: Float32[np.ndarray, "rows cols"]) -> float | None:
    """Spectral power at 0.12 to 0.25 cycles a pixel over that at 0.03 to 0.08, the floor beyond 0.4 taken off both.

    A tip twice as blunt lowers it by a factor of several, a gain or a noise level not at all.
    """
    finite = np.isfinite(image)
    if not finite.any():
        return None
    filled = np.where(finite, image, np.float32(np.nanmedian(image))).astype(np.float64)
    filled -= filled.mean()
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])[None, :]
    power = np.abs(fft.rfft2(filled * window)) ** 2
    k = np.hypot(fft.fftfreq(image.shape[0])[:, None], fft.rfftfreq(image.shape[1])[None, :])
    off_axis = np.abs(fft.fftfreq(image.shape[0]))[:, None] * np.ones_like(k) > 0  # what is common to whole lines lies on k_x = 0
    off_axis &= fft.rfftfreq(image.shape[1])[None, :] > 0

    def mean(low: float, high: float) -> float:
        ring = (k >= low) & (k < high) & off_axis
        return float(power[ring].mean()) if ring.any() else 0.0

    floor = mean(_FINEST, 0.5)
    coarse = mean(*_MIDDLE) - floor
    return max(0.0, mean(*_HIGH) - floor) / coarse if coarse > 0 else None


def _wrong_unit(seen: _Inspection) -> str | None:
    for name, image in seen.scan.channels.items():
        unit = seen.scan.units.get(name, "")
        span = next((v for (kind, of), v in _PLAUSIBLE.items() if of == unit and name.lower().startswith(kind)), None)
        size = _typical(image)
        if span is not None and size != 0 and not span[0] <= size <= span[1]:
            return f"{name} is said to be in {unit}, but reaches {size:.3g}; {span[0]:g} to {span[1]:g} {unit} is possible"
    return _radians(seen)


def _radians(seen: _Inspection) -> str | None:
    """A phase that is said to be in degrees, whose two lobes lie π and not 180 apart."""
    name = phase_of(seen.scan, seen.channel)
    if name is None or seen.scan.units.get(name) != "deg":
        return None
    phase = seen.scan.channels[name]
    low, high = np.nanpercentile(phase, [1, 99])
    if high - low < 2.5 or np.nanmax(np.abs(phase)) > 2 * np.pi:
        return None
    return f"{name} is said to be in degrees, but all of it lies between {low:.2f} and {high:.2f}, as radians do"


def _mislabelled(seen: _Inspection) -> str | None:
    for name, image in seen.scan.channels.items():
        low, high = np.nanpercentile(image, [1, 99]) if np.isfinite(image).any() else (0.0, 0.0)
        if "amplitude" in name.lower() and low < -_NEGATIVE * max(high, 0.0):
            return f"{name} reaches from {low:.3g} to {high:.3g}, and no amplitude is negative; are labels swapped?"
        if "phase" in name.lower() and seen.scan.units.get(name) == "deg" and 0 < _typical(image) < 1e-3:
            return f"{name} reaches {_typical(image):.2g} degrees only, as an amplitude in metres would; are labels swapped?"
    return None


def _transposed(seen: _Inspection) -> str | None:
    """Lines differ from one another more than columns do, since each is recorded at a time of its own."""
    name = next((n for n in seen.scan.channels if "frequency" in n.lower()), None)
    if name is None or min(seen.scan.channels[name].shape) < 32:
        return None
    image = seen.scan.channels[name]
    between_lines, between_columns = (_common_step(image, axis) for axis in (0, 1))
    if between_columns <= _ACROSS * between_lines:
        return None
    return (
        f"in {name} neighbouring columns differ by {between_columns:.3g} Hz and neighbouring lines by {between_lines:.3g} Hz; "
        "lines should differ more, so rows and columns seem to be exchanged"
    )


def _repeated(seen: _Inspection) -> str | None:
    if seen.content_before != seen.content:
        return None
    return f"{seen.channel} is the same, bit for bit, as in the last frame of this sample; was an old file sent again?"


def _saturated(seen: _Inspection) -> str | None:
    image = seen.image
    finite = image[np.isfinite(image)]
    if not len(finite) or np.ptp(finite) == 0:
        return None
    share = float(np.mean(finite == finite.max()))
    if share < seen.settings.saturated_share:
        return None
    return f"{share:.1%} of {seen.channel} hold its largest value, {finite.max():.3g}, so it is saturated; lower drive or gain"


def _not_recorded(seen: _Inspection) -> str | None:
    missing = ~np.isfinite(seen.image).all(axis=1)
    missing |= (seen.image == 0).all(axis=1)
    if not missing.any() or missing.all():  # an empty image is refused for what it is
        return None
    seen.bad_lines |= missing
    return f"{_lines(missing)} hold no number in {seen.channel}"


def _lock_lost(seen: _Inspection) -> str | None:
    """The tracker stands still where it has lost the resonance: the recorded frequency does not change along the line."""
    name = next((n for n in seen.scan.channels if "frequency" in n.lower()), None)
    if name is None:
        return None
    spread = np.ptp(seen.scan.channels[name], axis=1)  # NaN where any is, and NaN is not less
    if not np.isfinite(spread).any():
        return None
    usual = float(np.nanmedian(spread))
    lost = spread < _STEADY * usual
    if usual < _LEAST_SPREAD_HZ or not lost.any():
        return None
    seen.bad_lines |= lost
    return f"on {_lines(lost)} the frequency stands still, so the resonance was lost; tune again"


def _contact_lost(seen: _Inspection) -> str | None:
    if "amplitude" not in seen.channel.lower() or min(seen.image.shape) < _LEAST_LINE_PX:
        return None
    whole = seen.image[np.isfinite(seen.image).all(axis=1)]
    if not len(whole):
        return None
    # A featureless part of the surface is flat too, but not dark.
    lost = flat_lines(seen.image) & (np.median(seen.image, axis=1) < _DARK * np.median(np.percentile(whole, 95, axis=1)))
    if not lost.any():
        return None
    seen.bad_lines |= lost
    return f"{_lines(lost)} show next to nothing in {seen.channel}, so the tip had no contact"


def _no_signal(seen: _Inspection) -> str | None:
    image = seen.image
    if not np.isfinite(image).all() or min(image.shape) < 8 or np.ptp(image) == 0:
        return None
    flat = image - image.mean(axis=1, keepdims=True)
    correlation = float((flat[:, 1:] * flat[:, :-1]).mean() / (flat**2).mean())
    if correlation >= seen.settings.least_correlation:
        return None
    return f"neighbouring pixels of {seen.channel} have nothing in common (correlation {correlation:.2f}): it shows noise only"


def _blunt_tip(seen: _Inspection) -> str | None:
    before, now = seen.sharpness_before, seen.sharpness
    if before is None or now is None or now >= seen.settings.least_sharpness * before:
        return None
    return f"fine structure is down to {now / before:.0%} of what it was in the last frame: the tip seems to be blunted"


_CHECKS: Mapping[ProblemName, Check] = {
    "mislabelled": _mislabelled,
    "wrong_unit": _wrong_unit,
    "transposed": _transposed,
    "repeated": _repeated,
    "saturated": _saturated,
    "not_recorded": _not_recorded,
    "lock_lost": _lock_lost,
    "contact_lost": _contact_lost,
    "no_signal": _no_signal,
    "blunt_tip": _blunt_tip,
}


def _typical(image: np.ndarray) -> float:
    """Magnitude that 1 % of the finite pixels exceed; 0 if there are none."""
    values = np.abs(image[np.isfinite(image)])
    return float(np.percentile(values, 99)) if len(values) else 0.0


def _common_step(image: np.ndarray, axis: int) -> float:
    """Median over neighbouring lines (axis 0) or columns (axis 1) of the step that is common to most of their pixels."""
    steps = np.diff(image.astype(np.float64), axis=axis)
    known = steps[np.isfinite(steps).any(axis=1)][:, np.isfinite(steps).any(axis=0)]
    return float(np.median(np.abs(np.nanmedian(known, axis=1 - axis)))) if known.size else 0.0


def _lines(mask: np.ndarray) -> str:
    at = np.flatnonzero(mask)
    span = f"line {at[0]}" if len(at) == 1 else f"{len(at)} lines ({at[0]} to {at[-1]})"
    return f"{span} of {len(mask)}"
