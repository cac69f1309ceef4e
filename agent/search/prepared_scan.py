"""A scan prepared for a search: images of each channel mode, and key points that are valid in all of them."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32

from agent.config.model import Config
from agent.errors import UnusableScanError
from agent.preprocessing.channels import ChannelStack, Response, response_of, stack_channels
from agent.preprocessing.keypoints import AUTO, WALLS, Keypoints, find_keypoints, find_wall_keypoints
from agent.preprocessing.line_artifacts import level_lines
from agent.preprocessing.normalise import NormalisedImage
from agent.preprocessing.square_pixels import resampled, resampled_mask, square_frame
from agent.schema.seed_streams import Stream, stream
from agent.search.plugins import load_keypoints
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan
from rewards.base import MeasuredResults

_WITHOUT_WALLS = "canny_walls"


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """Images and key points of a scan.

    Parameters
    ----------
    channel
        Full name of the main channel.
    frame
        The frame in the pixels of the images, which are square: that of the scan, or resampled.
    stacks
        Images by channel mode, each of shape (C, rows, cols) with values in [0, 1]. The first channel is the main one.
    vae_modes
        Channel modes that VAEs are trained on.
    plain_modes
        Channel modes that plain families represent.
    keypoints
        Key points by method. All windows, models and channel modes share them, so they lie where all images are valid.
    valid
        Shape (rows, cols): true where all images are valid.
    masked
        Number of invalid lines or pixels by reason.
    phase_offset_rad
        Fitted phase offset in radians; None if no phase is used.
    results
        Measured results near key points; None if there are none.
    """

    channel: str
    frame: Frame
    stacks: Mapping[str, Float32[np.ndarray, "C rows cols"]]
    vae_modes: tuple[str, ...]
    plain_modes: tuple[str, ...]
    keypoints: Mapping[str, Keypoints]
    valid: Bool[np.ndarray, "rows cols"]
    masked: Mapping[str, int]
    phase_offset_rad: float | None
    results: MeasuredResults | None = None


def prepare_scan(scan: Scan, config: Config, bad_lines: Bool[np.ndarray, " rows"] | None = None) -> PreparedScan:
    """Prepare `scan` for a search with `config`; no patch contains any of `bad_lines`.

    Raises
    ------
    UnusableScanError
        If it cannot be represented: no contrast, too few valid pixels or walls, or smaller than a window.
    UnknownChannelError
        If the scan lacks a configured channel.
    PluginError
        If a key-point method cannot be used.
    """
    channel = scan.find_channel(config.channel)
    stacks = _stacks(scan, channel, config)
    first = next(iter(stacks.values())).image
    valid = np.logical_and.reduce([stack.image.valid for stack in stacks.values()])
    image = replace(first, valid=valid if bad_lines is None else valid & ~bad_lines[:, None])
    with_phase = any(stack.phase_offset_rad is not None for stack in stacks.values())
    wanted = WALLS in config.keypoints or (AUTO in config.keypoints and with_phase)
    response = response_of(scan, channel, image, with_phase=with_phase) if wanted else None
    frame = analysed_frame(scan.frame, config)
    values = {name: resampled(s.values, scan.frame, frame) for name, s in stacks.items()}
    if frame != scan.frame:
        image = _square(image, scan.frame, frame)
        response = None if response is None else _square_response(response, scan.frame, frame)
    found = dict(_keypoints(image, response, name, config) for name in config.keypoints)
    modes = tuple(stacks)
    # Training on three channels would take twice as long.
    vae_modes, plain_modes = (modes[:1], modes[-1:]) if config.scan.channels == ("auto",) else (modes, modes)
    offset = next((s.phase_offset_rad for s in stacks.values() if s.phase_offset_rad is not None), None)
    return PreparedScan(channel, frame, values, vae_modes, plain_modes, found, image.valid, first.masked, offset)


def analysed_frame(frame: Frame, config: Config) -> Frame:
    """The frame of a scan in the pixels that it is analysed in.

    Raises
    ------
    UnusableScanError
        If its pixels are too unequal.
    """
    return frame if config.scan.rules == 1 else square_frame(frame)


def _square(image: NormalisedImage, frame: Frame, square: Frame) -> NormalisedImage:
    """The image in which key points are found; its lines are levelled first, as they were recorded."""
    levelled = level_lines(image.values).clip(0, 1)
    return replace(
        image,
        values=resampled(levelled[None], frame, square)[0],
        valid=resampled_mask(image.valid, frame, square),
    )


def _square_response(response: Response, frame: Frame, square: Frame) -> Response:
    channels, size = resampled(response.channels, frame, square), resampled(response.size[None], frame, square)[0]
    return Response(channels, size, resampled_mask(response.valid, frame, square))


def _keypoints(image: NormalisedImage, response: Response | None, name: str, config: Config) -> tuple[str, Keypoints]:
    """Name of the method, and its key points; "auto" is resolved: on the walls of the response if it shows enough of them."""
    options = config.keypoint_options(name)
    if name == AUTO and response is not None:
        with contextlib.suppress(UnusableScanError):
            return WALLS, _found(image, response, WALLS, options, config)
    name, options = (_WITHOUT_WALLS, {}) if name == AUTO else (name, options)
    return name, _found(image, response, name, options, config)


def _found(image: NormalisedImage, response: Response | None, name: str, options: Mapping[str, Any], config: Config) -> Keypoints:
    method = load_keypoints(name, options, config.directory)
    spacing_px, window_px = config.scan.spacing_px, max(config.search.windows_px)
    rng = stream(config.seed, Stream.KEYPOINTS)
    if name != WALLS or response is None:
        return find_keypoints(image, method, spacing_px=spacing_px, largest_window_px=window_px, rng=rng)
    return find_wall_keypoints(image, response, method, spacing_px=spacing_px, largest_window_px=window_px, rng=rng)


def _stacks(scan: Scan, channel: str, config: Config) -> dict[str, ChannelStack]:
    """Images by channel mode; for "auto" the amplitude, and also the vector if the scan contains the phase."""
    percentiles = config.scan.low_percentile, config.scan.high_percentile
    if config.scan.channels != ("auto",):
        return {mode: stack_channels(scan, channel, mode, *percentiles) for mode in config.scan.channels}
    full = stack_channels(scan, channel, "auto", *percentiles)
    alone = replace(full, values=full.values[:1], names=full.names[:1], phase_offset_rad=None)
    return {"amplitude": alone} if len(full.values) == 1 else {"amplitude": alone, "vector": full}
