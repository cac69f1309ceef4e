"""Quality gate: problems of a scan, the lines that they affect, and the action taken.

A faulty scan looks like one with many types: lost lines, a swapped label or a blunted tip all make clusters. Each scan is
therefore inspected before anything is trained on it. Every problem has a name, a sentence that says what was seen, and an action:
its lines are excluded ("mask"), a new scan is requested ("rescan"), nothing is done until an operator has looked ("skip"), or it
is only reported ("warn"). What a check cannot distinguish from a sound scan passes.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy import fft

from agent.config.quality import Action, ProblemName, QualitySettings
from agent.preprocessing.channels import phase_of, recorded_phase_of
from agent.preprocessing.frame_comparison import changes
from agent.preprocessing.line_artifacts import lines_not_recorded, lines_without_contact, lines_without_lock
from agent.preprocessing.registration import ScanPair
from instrument_adapters.scan import Scan

# Values that an instrument can measure, by the beginning of a channel's name and its unit.
_PLAUSIBLE = {("amplitude", "m"): (1e-14, 1e-6), ("height", "m"): (1e-12, 1e-4), ("frequency", "Hz"): (1e3, 1e8)}
_NEGATIVE = 0.25  # how far an amplitude may extend below zero, relative to above: noise and offsets make it negative
_TRANSPOSED = 3.0  # steps between columns relative to steps between lines; in the frequency of sound scans at most a ninth
_HIGH, _MIDDLE = (0.12, 0.25), (0.03, 0.08)  # bands of the spectrum in cycles per pixel
_LARGEST_PHASE = 99.9  # percentile; single wild pixels do not tell the unit of the others
_NOISE_FROM = 0.4  # above it, there is only noise
NOWHERE: Float[np.ndarray, "0 2"] = np.empty((0, 2))


@dataclass(frozen=True)
class Problem:
    """One problem of a scan.

    Parameters
    ----------
    name, action
        Kind of the problem, and what is done about it.
    sentence
        What was seen, where, and what to do.
    """

    name: ProblemName
    action: Action
    sentence: str


@dataclass(frozen=True, eq=False)
class Quality:
    """Result of an inspection.

    Parameters
    ----------
    problems
        Most serious first; empty for a sound scan.
    bad_lines
        Shape (rows,): True for lines that no patch may touch.
    sharpness
        Power of fine structure over that of coarse structure, less the noise; None if there is no contrast.
    content
        Digest of the main channel, by which a scan that is sent twice is recognised.
    """

    problems: tuple[Problem, ...]
    bad_lines: Bool[np.ndarray, " rows"]
    sharpness: float | None
    content: str

    @property
    def fatal(self) -> Problem | None:
        """The most serious problem that forbids a decision; None if the scan can be used."""
        return next((p for p in self.problems if p.action in ("skip", "rescan")), None)


@dataclass
class _QualityInspection:
    """A scan under inspection, and what was found so far."""

    scan: Scan
    channel: str
    settings: QualitySettings
    sharpness_before: float | None
    content_before: str | None
    robust: bool = True
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


Check = Callable[[_QualityInspection], str | None]


def inspect(
    scan: Scan,
    channel: str,
    settings: QualitySettings = QualitySettings(),
    *,
    sharpness_before: float | None = None,
    content_before: str | None = None,
    pair: ScanPair | None = None,
    measured_xy: Float[np.ndarray, "k 2"] = NOWHERE,
    robust: bool = True,
) -> Quality:
    """Quality of `scan`: its problems and the lines that they affect.

    Parameters
    ----------
    scan
        The new scan.
    channel
        Full name of the main channel.
    settings
        Thresholds, and the action for each problem.
    sharpness_before, content_before
        Of the previous scan of the same sample, if there is one.
    pair
        `scan` with that previous scan, in the main channel; None if they are not to be compared.
    measured_xy
        Shape (k, 2): positions measured on the sample, in metres; changes there are expected.
    robust
        Whether the largest phase is a percentile; if not, a single pixel can set it, as in decisions by the first rules.
    """
    state = _QualityInspection(scan, channel, settings, sharpness_before, content_before, robust)
    found = [
        Problem(name, settings.action(name), sentence)
        for name, check in _CHECKS.items()
        if (sentence := check(state)) is not None
    ]
    if pair is not None and not any(p.action in ("skip", "rescan") for p in found):
        for name, (sentence, lines) in changes(pair, measured_xy, state.bad_lines).items():
            found.append(Problem(name, settings.action(name), sentence))
            if lines is not None and settings.action(name) == "mask":
                state.bad_lines |= lines
    if state.bad_lines.mean() > settings.most_bad_lines:
        found = [Problem(p.name, "rescan" if p.action == "mask" else p.action, p.sentence) for p in found]
    masked = {p.name for p in found if p.action == "mask"}
    bad = state.bad_lines if masked else np.zeros_like(state.bad_lines)
    found.sort(key=lambda p: ("skip", "rescan", "mask", "warn").index(p.action))
    return Quality(tuple(found), bad, state.sharpness, state.content)


def sharpness(image: Float32[np.ndarray, "rows cols"]) -> float | None:
    """Spectral power at 0.12 to 0.25 cycles per pixel over that at 0.03 to 0.08, each less the noise floor above 0.4.

    A tip twice as blunt lowers it by a factor of several; gain and noise level do not change it.
    """
    finite = np.isfinite(image)
    if not finite.any():
        return None
    filled = np.where(finite, image, np.float32(np.nanmedian(image))).astype(np.float64)
    filled -= filled.mean()
    window = np.hanning(image.shape[0])[:, None] * np.hanning(image.shape[1])[None, :]
    power = np.abs(fft.rfft2(filled * window)) ** 2
    k = np.hypot(fft.fftfreq(image.shape[0])[:, None], fft.rfftfreq(image.shape[1])[None, :])
    # Offsets of whole lines lie on k_x = 0.
    off_axis = np.abs(fft.fftfreq(image.shape[0]))[:, None] * np.ones_like(k) > 0
    off_axis &= fft.rfftfreq(image.shape[1])[None, :] > 0

    def mean(low: float, high: float) -> float:
        ring = (k >= low) & (k < high) & off_axis
        return float(power[ring].mean()) if ring.any() else 0.0

    floor = mean(_NOISE_FROM, 0.5)
    coarse = mean(*_MIDDLE) - floor
    return max(0.0, mean(*_HIGH) - floor) / coarse if coarse > 0 else None


def _wrong_unit(state: _QualityInspection) -> str | None:
    for name, image in state.scan.channels.items():
        unit = state.scan.units.get(name, "")
        span = next((v for (kind, of), v in _PLAUSIBLE.items() if of == unit and name.lower().startswith(kind)), None)
        size = _level(image)
        if span is not None and size != 0 and not span[0] <= size <= span[1]:
            return f"{name} has the unit {unit} but reaches {size:.3g}; plausible are {span[0]:g} to {span[1]:g} {unit}"
    return _radians(state)


def _radians(state: _QualityInspection) -> str | None:
    """A problem if a phase has the unit degrees, but its two lobes are π instead of 180 apart."""
    name = recorded_phase_of(state.scan, state.channel)
    if name is None or state.scan.units.get(name) != "deg":
        return None
    phase = state.scan.channels[name]
    low, high = np.nanpercentile(phase, [1, 99])
    if high - low < 2.5 or np.nanpercentile(np.abs(phase), _LARGEST_PHASE if state.robust else 100.0) > 2 * np.pi:
        return None
    return f"{name} has the unit degrees, but lies between {low:.2f} and {high:.2f}; it is probably in radians"


def _phase_missing(state: _QualityInspection) -> str | None:
    name = phase_of(state.scan, state.channel)
    if name is None or recorded_phase_of(state.scan, state.channel) is not None:
        return None
    return f"{name} holds no number, so the phase was not recorded; channels = 'auto' uses the amplitude alone"


def _mislabelled(state: _QualityInspection) -> str | None:
    for name, image in state.scan.channels.items():
        low, high = np.nanpercentile(image, [1, 99]) if np.isfinite(image).any() else (0.0, 0.0)
        if "amplitude" in name.lower() and low < -_NEGATIVE * max(high, 0.0):
            return f"{name} ranges from {low:.3g} to {high:.3g}, but an amplitude is not negative; are channel labels swapped?"
        if "phase" in name.lower() and state.scan.units.get(name) == "deg" and 0 < _level(image) < 1e-3:
            return f"{name} reaches only {_level(image):.2g} degrees, like an amplitude in metres; are channel labels swapped?"
    return None


def _transposed(state: _QualityInspection) -> str | None:
    """A problem if columns differ more than lines do: each line is recorded at another time, so lines should differ more."""
    name = next((n for n in state.scan.channels if "frequency" in n.lower()), None)
    if name is None or min(state.scan.channels[name].shape) < 32:
        return None
    image = state.scan.channels[name]
    between_lines, between_columns = (_common_step(image, axis) for axis in (0, 1))
    if between_columns <= _TRANSPOSED * between_lines:
        return None
    return (
        f"in {name} neighbouring columns differ by {between_columns:.3g} Hz and neighbouring lines by {between_lines:.3g} Hz; "
        "lines should differ more, so rows and columns are probably exchanged"
    )


def _repeated(state: _QualityInspection) -> str | None:
    if state.content_before != state.content:
        return None
    return f"{state.channel} is identical, bit for bit, to that of the last scan of this sample; was an old file sent again?"


def _saturated(state: _QualityInspection) -> str | None:
    image = state.image
    finite = image[np.isfinite(image)]
    if not len(finite) or np.ptp(finite) == 0:
        return None
    share = float(np.mean(finite == finite.max()))
    if share < state.settings.saturated_share:
        return None
    return f"{share:.1%} of the pixels of {state.channel} are saturated at {finite.max():.3g}; lower the drive or the gain"


def _not_recorded(state: _QualityInspection) -> str | None:
    missing = lines_not_recorded(state.image)
    if not missing.any() or missing.all():  # preparing the scan refuses an empty image, with a better reason
        return None
    state.bad_lines |= missing
    return f"{state.channel} has missing data on {_lines(missing)}"


def _lock_lost(state: _QualityInspection) -> str | None:
    name = next((n for n in state.scan.channels if "frequency" in n.lower()), None)
    lost = lines_without_lock(state.scan.channels[name]) if name is not None else np.zeros(0, np.bool_)
    if not lost.any():
        return None
    state.bad_lines |= lost
    return f"on {_lines(lost)} the frequency is constant, so the resonance was lost; tune again"


def _contact_lost(state: _QualityInspection) -> str | None:
    if "amplitude" not in state.channel.lower():
        return None
    lost = lines_without_contact(state.image)
    if not lost.any():
        return None
    state.bad_lines |= lost
    return f"{state.channel} has almost no signal on {_lines(lost)}, so the tip was not in contact"


def _no_signal(state: _QualityInspection) -> str | None:
    image = state.image
    if not np.isfinite(image).all() or min(image.shape) < 8 or np.ptp(image) == 0:
        return None
    centred = image - image.mean(axis=1, keepdims=True)
    correlation = float((centred[:, 1:] * centred[:, :-1]).mean() / (centred**2).mean())
    if correlation >= state.settings.least_correlation:
        return None
    return f"{state.channel} contains only noise (the correlation of neighbouring pixels is {correlation:.2f})"


def _blunt_tip(state: _QualityInspection) -> str | None:
    before, now = state.sharpness_before, state.sharpness
    if before is None or now is None or now >= state.settings.least_sharpness * before:
        return None
    return f"fine structure is down to {now / before:.0%} of that in the last scan; the tip is probably blunted"


_CHECKS: Mapping[ProblemName, Check] = {
    "mislabelled": _mislabelled,
    "wrong_unit": _wrong_unit,
    "phase_missing": _phase_missing,
    "transposed": _transposed,
    "repeated": _repeated,
    "saturated": _saturated,
    "not_recorded": _not_recorded,
    "lock_lost": _lock_lost,
    "contact_lost": _contact_lost,
    "no_signal": _no_signal,
    "blunt_tip": _blunt_tip,
}


def _level(image: np.ndarray) -> float:
    """Magnitude exceeded by 1 % of the finite pixels; 0 if there are none."""
    values = np.abs(image[np.isfinite(image)])
    return float(np.percentile(values, 99)) if len(values) else 0.0


def _common_step(image: np.ndarray, axis: int) -> float:
    """Median over neighbouring lines (axis 0) or columns (axis 1) of the size of the step common to most of their pixels."""
    steps = np.diff(image.astype(np.float64), axis=axis)
    known = steps[np.isfinite(steps).any(axis=1)][:, np.isfinite(steps).any(axis=0)]
    return float(np.median(np.abs(np.nanmedian(known, axis=1 - axis)))) if known.size else 0.0


def _lines(mask: np.ndarray) -> str:
    at = np.flatnonzero(mask)
    span = f"line {at[0]}" if len(at) == 1 else f"{len(at)} lines ({at[0]} to {at[-1]})"
    return f"{span} of {len(mask)}"
