"""Records a frame in dual AC resonance tracking (DART): tip, oscillator, frequency tracker and noise of each line."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex, Float, Float32
from pydantic import Field
from scipy import ndimage

from instrument_adapters.geometry import Finite, Frame, Positive
from simulators.physics.line_noise import line_offsets, low_passed, smooth_noise, streaks, wander
from simulators.physics.oscillator import respond
from simulators.physics.probe import LineStates, Probe
from simulators.physics.wear import WearConfig
from simulators.sample.surface import Surface
from simulators.settings import NonNegative, Settings

CHANNELS = {
    "HeightRetrace": "m",
    "Amplitude1Retrace": "m",
    "Amplitude2Retrace": "m",
    "Phase1Retrace": "deg",
    "Phase2Retrace": "deg",
    "FrequencyRetrace": "Hz",
}

_OVERSCAN = 0.125  # relative to the points of a line, at either end; the tracker settles there before the retrace
_UPDATES = 2  # updates of the tracker per pixel
_HEIGHT_BLUR = 0.6  # relative to the blur of the response: topography is sharper than the field under the tip


class DartConfig(Settings):
    """Settings of the probe, its electronics and their noise.

    Parameters
    ----------
    tip_m
        Standard deviation of the Gaussian spot over which the tip averages.
    drive_V, sensitivity_m_per_V
        Drive amplitude, and response per volt far below the resonance.
    resonance_Hz, Q, Q_noise
        Nominal contact resonance, quality factor, and relative standard deviation of the latter from pixel to pixel.
    tone_separation_Hz
        Separation of the two tones.
    phase_offset_deg
        Offset of both phases.
    background, background_deg
        Electrostatic background relative to the response of a c domain, and its phase.
    amplitude_noise_m, amplitude_noise_px
        Standard deviation of the additive noise of each quadrature of each tone, and number of pixels along a line over which
        the lock-in's filter smooths it; 0 for white noise.
    gain_noise, line_gain_noise, frame_gain_drift
        Relative standard deviations of the response: along a line, from line to line, and from the start of the frame to its end.
    background_noise
        Standard deviation, from pixel to pixel, of each quadrature of the background, relative to the response of a c domain:
        a fluctuating contact potential, common to both tones and independent of the response of the domains.
    streaks
        Standard deviation of the log response along short stretches of single lines, as caused by loose dirt under the tip;
        bright streaks are more pronounced than dark ones.
    noise_spread
        Standard deviation of the log level of the amplitude noise (gain_noise, background_noise, amplitude_noise_m) from frame to
        frame; it is half as large from line to line.
    line_frequency_noise_Hz, pixel_frequency_noise_Hz
        Standard deviation of the resonance from line to line and from pixel to pixel.
    height_noise_m, line_height_noise_m
        Standard deviation of the height at each pixel and of its offset at each line.
    tracker_gain_Hz, tracker_range_Hz
        Shift of the centre frequency per nanometre of difference between the amplitudes, applied twice per pixel, and largest
        deviation from the nominal resonance.
    wear
        Settings of the natural wear of the probe.
    """

    tip_m: Positive = 14e-9
    drive_V: float = Field(default=3.0, gt=0, le=3.0)
    sensitivity_m_per_V: Positive = 6.5e-12
    resonance_Hz: Positive = 371e3
    Q: Positive = 56.0
    Q_noise: NonNegative = 0.05
    tone_separation_Hz: Positive = 1e4
    phase_offset_deg: Finite = -82.639
    background: NonNegative = 0.25
    background_deg: Finite = 20.0
    amplitude_noise_m: NonNegative = 12e-12
    amplitude_noise_px: NonNegative = 0.0
    gain_noise: NonNegative = 0.03
    line_gain_noise: NonNegative = 0.015
    frame_gain_drift: NonNegative = 0.05
    background_noise: NonNegative = 0.0
    streaks: NonNegative = 0.0
    noise_spread: NonNegative = 0.0
    line_frequency_noise_Hz: NonNegative = 1.4e3
    pixel_frequency_noise_Hz: NonNegative = 200.0
    height_noise_m: NonNegative = 0.08e-9
    line_height_noise_m: NonNegative = 0.15e-9
    tracker_gain_Hz: NonNegative = 1000.0
    tracker_range_Hz: Positive = 3e4
    wear: WearConfig = WearConfig()


@dataclass(frozen=True, eq=False)
class DartRecording:
    """A recorded frame, and the true tip positions (sealed: no message contains them).

    Parameters
    ----------
    channels
        Image of each of `CHANNELS`, shape (rows, cols).
    true_xy_m
        True position (x, y) of each pixel in metres, shape (rows, cols, 2).
    """

    channels: dict[str, Float32[np.ndarray, "rows cols"]]
    true_xy_m: Float[np.ndarray, "rows cols 2"]


@dataclass(frozen=True, eq=False)
class LineSignals:
    """Input of the electronics along the lines: `steps` in the order of recording, for all lines side by side.

    Parameters
    ----------
    force_m
        Signed complex response below the resonance.
    f0_Hz, Q
        Contact resonance and quality factor.
    noise_m
        Additive noise of the two tones.
    """

    force_m: Complex[np.ndarray, "steps lines"]
    f0_Hz: Float[np.ndarray, "steps lines"]
    Q: Float[np.ndarray, "steps lines"]
    noise_m: Complex[np.ndarray, "2 steps lines"]


def record_frame(
    surface: Surface,
    frame: Frame,
    config: DartConfig,
    *,
    displacement_m: Callable[[np.ndarray], np.ndarray],
    jitter_m: float,
    started_s: float,
    line_s: float,
    scan_down: bool,
    rng: np.random.Generator,
    states: LineStates | None = None,
) -> DartRecording:
    """Record one frame of retraces.

    Parameters
    ----------
    surface
        Sample under the tip.
    frame
        Commanded frame.
    config
        Settings of probe and electronics.
    displacement_m
        Function from simulated seconds (any shape) to the displacement (..., 2) of the tip over the sample in metres.
    jitter_m
        Standard deviation of the true position at each pixel.
    started_s, line_s
        Start of the first line, and duration of a line (trace, retrace, overscan), in simulated seconds.
    scan_down
        Whether the last row is recorded first, as in a "down" scan; the rows of the images are ascending in either case.
    rng
        Random generator of all noise.
    states
        Condition of the probe on each line; by default that of a fresh probe.
    """
    states = states or LineStates.steady(Probe(), frame.rows)
    xy = _true_positions(frame, displacement_m, started_s, line_s, scan_down) + states.shift_m
    xy += jitter_m * rng.standard_normal(xy.shape)
    steps, lines = xy.shape[:2]
    rc = surface.grid(xy.reshape(-1, 2)).T.reshape(2, steps, lines)
    sigma = config.tip_m / surface.config.pitch_m * states.blunting
    signals = _signals(surface, rc, sigma, config, states, rng)
    centre, tones = track(signals, config, states.locked)
    height = _sample(surface.height_m, _HEIGHT_BLUR * sigma, rc)
    height += config.height_noise_m * rng.standard_normal(height.shape)
    height += config.line_height_noise_m * line_offsets(lines, rng)
    raw = [height, *np.abs(tones), *(_phase(tone, config) for tone in tones), centre]
    images = [_to_image(values, frame, scan_down).astype(np.float32) for values in raw]
    channels = dict(zip(CHANNELS, images, strict=True))
    return DartRecording(
        {name: _wrapped(image) if CHANNELS[name] == "deg" else image for name, image in channels.items()},
        _to_image(xy, frame, scan_down),
    )


def track(
    signals: LineSignals, config: DartConfig, locked: Bool[np.ndarray, " lines"] | None = None
) -> tuple[Float[np.ndarray, "steps lines"], Complex[np.ndarray, "2 steps lines"]]:
    """(centre frequency in Hz, response of the two tones in metres) at each step.

    fc <- fc - g (A1 - A2), twice a step. The tracker is causal, but all lines are computed in parallel: each begins in the
    overscan near the resonance, where the preceding trace has left the tracker. On lines that are not `locked` the tones stay
    where the last locked line left them, or at the nominal resonance if there is none.
    """
    steps, lines = signals.f0_Hz.shape
    half, low, high = config.tone_separation_Hz / 2, -config.tracker_range_Hz, config.tracker_range_Hz
    centres, tones = np.empty((steps, lines)), np.empty((2, steps, lines), complex)
    centre = signals.f0_Hz[0].copy()
    for step in range(steps):
        f0, q, force = signals.f0_Hz[step], signals.Q[step], signals.force_m[step]
        for _ in range(_UPDATES):
            at = centre + np.array([[-half], [half]])
            seen = force * respond(at, f0, q) + signals.noise_m[:, step]
            amplitude = np.abs(seen)
            centres[step], tones[:, step] = centre, seen
            centre = centre - config.tracker_gain_Hz / 1e-9 * (amplitude[0] - amplitude[1])
            centre = np.clip(centre, config.resonance_Hz + low, config.resonance_Hz + high)
    if locked is not None and not locked.all():
        _hold(centres, tones, signals, config, locked)
    return centres, tones


def _hold(centres: np.ndarray, tones: np.ndarray, signals: LineSignals, config: DartConfig, locked: np.ndarray) -> None:
    """Recompute, in place, the lines without lock, on which the tones do not move."""
    lost = ~locked
    latest = np.maximum.accumulate(np.where(locked, np.arange(len(locked)), -1))[lost]
    held = np.where(latest < 0, config.resonance_Hz, centres[-1, latest])
    half = config.tone_separation_Hz / 2
    f0, q, force = signals.f0_Hz[:, lost], signals.Q[:, lost], signals.force_m[:, lost]
    centres[:, lost] = held
    for tone, at in enumerate((held - half, held + half)):
        tones[tone, :, lost] = (force * respond(at, f0, q) + signals.noise_m[tone][:, lost]).T


def _true_positions(
    frame: Frame, displacement_m: Callable[[np.ndarray], np.ndarray], started_s: float, line_s: float, scan_down: bool
) -> Float[np.ndarray, "steps lines 2"]:
    """Tip positions in the order of recording: retraces run from high to low columns, in the second half of a line."""
    overscan = round(_OVERSCAN * frame.cols)
    cols = np.arange(frame.cols + overscan - 1, -1, -1, dtype=float)
    rows = np.arange(frame.rows, dtype=float)[:: -1 if scan_down else 1]
    row, col = np.meshgrid(rows, cols)
    commanded = frame.to_metres(np.stack([row.ravel(), col.ravel()], axis=1)).reshape(len(cols), len(rows), 2)
    per_point = line_s / 2 / ((1 + 2 * _OVERSCAN) * frame.cols)
    times = started_s + line_s * (np.arange(frame.rows) + 0.5)[None, :] + per_point * np.arange(len(cols))[:, None]
    return np.asarray(commanded + displacement_m(times))


def _signals(
    surface: Surface,
    rc: np.ndarray,
    sigma_px: np.ndarray,
    config: DartConfig,
    states: LineStates,
    rng: np.random.Generator,
) -> LineSignals:
    shape = rc.shape[1:]
    lines = shape[1]
    background = config.background * np.exp(1j * np.deg2rad(config.background_deg))
    response = _sample(surface.response, sigma_px, rc) + background + states.contamination
    level = np.exp(config.noise_spread * (rng.standard_normal() + 0.5 * line_offsets(lines, rng))) if config.noise_spread else 1.0
    gain = 1 + config.gain_noise * level * smooth_noise(shape, rng)
    gain *= np.exp(config.line_gain_noise * line_offsets(lines, rng) + config.frame_gain_drift * wander(lines, rng))
    gain *= states.gain * states.contact
    f0 = config.resonance_Hz + _sample(surface.resonance_shift_Hz, sigma_px, rc)
    f0 += config.line_frequency_noise_Hz * line_offsets(lines, rng)
    f0 += config.pixel_frequency_noise_Hz * rng.standard_normal(shape) + states.resonance_shift_Hz
    quality = config.Q * np.exp(config.Q_noise * rng.standard_normal(shape))
    noise = config.amplitude_noise_m * (rng.standard_normal((2, *shape)) + 1j * rng.standard_normal((2, *shape)))
    if config.amplitude_noise_px:
        noise = low_passed(noise, config.amplitude_noise_px)
    if config.background_noise:
        fluctuation = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
        response = response + config.background_noise * level * fluctuation
    if config.streaks:
        gain *= np.exp(config.streaks * streaks(shape, rng))
    noise = noise * level
    return LineSignals(config.drive_V * config.sensitivity_m_per_V * gain * response, f0, quality, noise)


def _sample(field: np.ndarray, sigma_px: np.ndarray, rc: np.ndarray) -> Float[np.ndarray, "steps lines"]:
    """The field averaged over a Gaussian spot whose width may differ from line to line; it is blurred once per width."""
    out = np.empty(rc.shape[1:])
    for sigma in np.unique(sigma_px):
        own = sigma_px == sigma
        blurred = ndimage.gaussian_filter(field, sigma, mode="mirror")
        out[:, own] = ndimage.map_coordinates(blurred, rc[:, :, own], order=1, mode="mirror", output=np.float64)
    return out


def _phase(tone: np.ndarray, config: DartConfig) -> np.ndarray:
    return np.asarray(config.phase_offset_deg - np.angle(tone, deg=True))


def _wrapped(degrees: Float32[np.ndarray, "rows cols"]) -> Float32[np.ndarray, "rows cols"]:
    """Phases wrapped into [-90, 270), even after rounding to float32."""
    wrapped = (np.mod(degrees + 90.0, 360.0) - 90.0).astype(np.float32)
    return np.where(wrapped >= 270.0, np.float32(-90.0), wrapped)


def _to_image(values: np.ndarray, frame: Frame, scan_down: bool) -> np.ndarray:
    """Image (rows, cols, ...) with ascending rows and without overscan, from (steps, lines, ...) in the order of recording."""
    retrace = values[-frame.cols :][::-1].swapaxes(0, 1)
    return np.ascontiguousarray(retrace[::-1] if scan_down else retrace)
