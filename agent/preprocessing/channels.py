"""Channels of a patch: the amplitude alone, or with phase or topography of the same scan.

The piezoresponse is a vector, A·e^{iφ}. The amplitude is only its length, so two domains of opposite polarisation look alike. The
quadratures A·cos(φ - φ0) and A·sin(φ - φ0) contain the sign as well. φ0 is the phase offset of the instrument; it is fitted,
because otherwise it determines how the signal is divided between the quadratures.

The fit assumes that domains respond along one axis, in either sense (phases in two lobes 180 degrees apart, or lengths that vary
along one lobe), on top of a constant background vector, and that noise is the same in all directions. A scan does not show which
of the two lobes points upwards, so φ0 lies in (-90, 90] degrees and the sign of both quadratures is a convention.
"""

import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32
from scipy.ndimage import distance_transform_edt

from agent.errors import UnusableScanError
from agent.preprocessing.line_artifacts import level_lines
from agent.preprocessing.normalise import NormalisedImage, normalise
from instrument_adapters.errors import UnknownChannelError
from instrument_adapters.scan import Scan

ChannelMode = Literal["auto", "amplitude", "vector", "height"]

_AMPLITUDE = re.compile("amplitude", re.IGNORECASE)
_OUTLIER_PERCENTILE = 99.0
_MIN_ANISOTROPY = 0.1  # (λ1 - λ2)/(λ1 + λ2) of the centred response, below which it has no axis


@dataclass(frozen=True, eq=False)
class ChannelStack:
    """Images of one scan from which patches are cut.

    Parameters
    ----------
    image
        The main channel in [0, 1], in which key points are found. A pixel is valid if it is valid in all channels.
    values
        Shape (C, rows, cols), in [0, 1]; the first is `image.values`.
    names
        Names of the C channels, such as "Amplitude1Retrace" and "Amplitude1Retrace·cos".
    phase_offset_rad
        Fitted phase offset φ0 in radians; None if no phase is used.
    """

    image: NormalisedImage
    values: Float32[np.ndarray, "C rows cols"]
    names: tuple[str, ...]
    phase_offset_rad: float | None = None


def stack_channels(
    scan: Scan, channel: str, mode: ChannelMode = "amplitude", low_percentile: float = 1.0, high_percentile: float = 95.0
) -> ChannelStack:
    """The main channel, with the further channels of `mode`.

    Parameters
    ----------
    scan
        The recorded scan.
    channel
        Full name of the main channel.
    mode
        "auto": "vector" if the scan contains the phase of the main channel and it was recorded, else "amplitude".
        "amplitude": the main channel alone, whatever it is.
        "vector": with the two quadratures. Zero response becomes 0.5, and minus and plus the amplitude's high percentile become
        0 and 1. The scale is the same for both, so that sign and relative size are preserved.
        "height": with the topography.
    low_percentile, high_percentile
        Percentiles of a channel that become 0 and 1.

    Raises
    ------
    UnknownChannelError
        If the scan lacks the channel that the mode needs.
    UnusableScanError
        If a channel is constant, or too few pixels are valid in all channels.
    """
    image = normalise(scan.channels[channel], low_percentile, high_percentile)
    if mode == "amplitude" or (mode == "auto" and recorded_phase_of(scan, channel) is None):
        return ChannelStack(image, image.values[None], (channel,))
    if mode == "height":
        height_name = _height_of(scan)
        height = normalise(scan.channels[height_name], low_percentile, high_percentile)
        return _stack(image, [height.values], [height.valid], (channel, height_name))
    return _vector(scan, channel, image, high_percentile)


@dataclass(frozen=True, eq=False)
class Response:
    """The response in which walls are detected: unlike a `ChannelStack` not clipped, since a clipped region has no noise.

    Parameters
    ----------
    channels
        Shape (C, rows, cols): the two quadratures, or the main channel alone if it has no phase; in units of the high
        percentile of the main channel, with the offsets of single lines removed. An invalid pixel has the value of the nearest
        valid one.
    size
        Shape (rows, cols): size of the response, 0 without any.
    valid
        Shape (rows, cols): False where a value was filled in.
    """

    channels: Float32[np.ndarray, "C rows cols"]
    size: Float32[np.ndarray, "rows cols"]
    valid: Bool[np.ndarray, "rows cols"]


def response_of(scan: Scan, channel: str, image: NormalisedImage, *, with_phase: bool = True) -> Response:
    """The response of a scan.

    Parameters
    ----------
    scan
        The recorded scan.
    channel
        Full name of the main channel.
    image
        The main channel, normalised; its mask says which pixels are valid.
    with_phase
        Whether the phase of the main channel is used if the scan contains it.
    """
    partner = phase_of(scan, channel) if with_phase else None
    values = _filled(scan.channels[channel], image.valid)
    if partner is None:
        size = (values - image.low) / (image.high - image.low)
        return Response(level_lines(size.astype(np.float32))[None], np.maximum(size, 0.0).astype(np.float32), image.valid)
    phase_rad = np.deg2rad(_filled(scan.channels[partner], image.valid))
    amplitude = values / image.high
    parts = np.stack([amplitude * np.cos(phase_rad), amplitude * np.sin(phase_rad)])
    levelled = np.stack([level_lines(part.astype(np.float32)) for part in parts])
    return Response(levelled, np.abs(amplitude).astype(np.float32), image.valid)


def phase_partner(scan: Scan, channel: str) -> str:
    """Name of the phase channel that belongs to an amplitude channel, such as Phase1Retrace to Amplitude1Retrace.

    Raises
    ------
    UnknownChannelError
        If the channel is no amplitude, or the scan does not contain its phase.
    """
    found = phase_of(scan, channel)
    if found is not None:
        return found
    wanted = _AMPLITUDE.sub("Phase", channel)
    why = f"the scan has no '{wanted}'" if wanted != channel else f"'{channel}' is not called an amplitude"
    raise UnknownChannelError(
        f"channels = 'vector' needs the phase that belongs to '{channel}', but {why}; it holds {', '.join(scan.channels)}; "
        "use channels = 'amplitude'"
    )


def phase_of(scan: Scan, channel: str) -> str | None:
    """Name of the phase channel that belongs to an amplitude channel; None if there is none."""
    wanted = _AMPLITUDE.sub("Phase", channel)
    return None if wanted == channel else next((name for name in scan.channels if name.lower() == wanted.lower()), None)


def recorded_phase_of(scan: Scan, channel: str) -> str | None:
    """As `phase_of`, but also None if no pixel of the phase is a number."""
    name = phase_of(scan, channel)
    return name if name is not None and np.isfinite(scan.channels[name]).any() else None


def fit_phase_offset(amplitude: Float[np.ndarray, " n"], phase_rad: Float[np.ndarray, " n"]) -> float:
    """Phase offset φ0 in (-π/2, π/2]: the axis along which the response A·e^{iφ} varies most.

    It is the principal axis of the response minus its mean, ½·arg Σ (r - r̄)²: a constant background shifts the mean but not the
    axis. If there is no such axis (one lobe of equal lengths, so that only noise is left about the mean), it is the axis through
    zero, ½·arg Σ A² e^{2iφ}. Amplitudes above the 99th percentile are clipped to it, so that a speck of dirt cannot set the axis.

    Parameters
    ----------
    amplitude
        Shape (n,): amplitudes in any unit, finite.
    phase_rad
        Shape (n,): phases in radians, wrapped to any interval.
    """
    longest = np.percentile(amplitude, _OUTLIER_PERCENTILE)
    response = np.minimum(amplitude, longest) * np.exp(1j * phase_rad)
    centred = response - response.mean()
    power = float((np.abs(centred) ** 2).sum())
    axis = (centred**2).sum()
    if power == 0 or np.abs(axis) < _MIN_ANISOTROPY * power:
        axis = (response**2).sum()
    offset = float(np.angle(axis)) / 2
    return offset if offset > -np.pi / 2 else offset + np.pi


def _vector(scan: Scan, channel: str, image: NormalisedImage, high_percentile: float) -> ChannelStack:
    partner = phase_partner(scan, channel)
    amplitude, phase_rad = scan.channels[channel].astype(np.float64), np.deg2rad(scan.channels[partner].astype(np.float64))
    valid = np.isfinite(amplitude) & np.isfinite(phase_rad)
    if not valid.any():
        raise UnusableScanError(f"no pixel holds a number in both {channel} and {partner}; rescan, or use channels = 'amplitude'")
    offset = fit_phase_offset(amplitude[valid], phase_rad[valid])
    full_scale = float(np.percentile(amplitude[valid], high_percentile))
    response = np.where(valid, amplitude / full_scale, 0.0) * np.exp(1j * (np.where(valid, phase_rad, 0.0) - offset))
    quadratures = [np.clip(0.5 + 0.5 * part, 0.0, 1.0).astype(np.float32) for part in (response.real, response.imag)]
    stack = _stack(image, quadratures, [valid], (channel, f"{channel}·cos", f"{channel}·sin"))
    return replace(stack, phase_offset_rad=offset)


def _filled(values: np.ndarray, valid: np.ndarray) -> Float[np.ndarray, "rows cols"]:
    """The values, with the nearest valid one in place of each invalid one."""
    if valid.all():
        return values.astype(np.float64)
    nearest = distance_transform_edt(~valid, return_distances=False, return_indices=True)
    return np.asarray(values[tuple(nearest)], dtype=np.float64)


def _stack(image: NormalisedImage, others: list[np.ndarray], masks: list[np.ndarray], names: tuple[str, ...]) -> ChannelStack:
    valid = np.logical_and.reduce([image.valid, *masks])
    return ChannelStack(replace(image, valid=valid), np.stack([image.values, *others]), names)


def _height_of(scan: Scan) -> str:
    names = [name for name in scan.channels if name.lower().startswith(("height", "zsensor"))]
    if not names:
        raise UnknownChannelError(
            f"channels = 'height' needs a topography; the scan holds {', '.join(scan.channels)}; use channels = 'amplitude'"
        )
    return next((name for name in names if "retrace" in name.lower()), names[0])
