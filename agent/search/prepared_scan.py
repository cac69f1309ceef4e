"""A scan prepared for a search: images of each channel mode, and key points that are valid in all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32

from agent.config.model import Config
from agent.preprocessing.channels import ChannelStack, response_of, stack_channels
from agent.preprocessing.keypoints import WALLS, Keypoints, find_keypoints, find_wall_keypoints
from agent.preprocessing.normalise import NormalisedImage
from agent.schema.seed_streams import Stream, stream
from agent.search.plugins import load_keypoints
from instrument_adapters.scan import Scan
from rewards.base import MeasuredResults


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """Images and key points of a scan.

    Parameters
    ----------
    channel
        Full name of the main channel.
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
    found = {name: _keypoints(scan, channel, image, name, config, with_phase=with_phase) for name in config.keypoints}
    modes = tuple(stacks)
    # Training on three channels would take twice as long.
    vae_modes, plain_modes = (modes[:1], modes[-1:]) if config.scan.channels == ("auto",) else (modes, modes)
    offset = next((s.phase_offset_rad for s in stacks.values() if s.phase_offset_rad is not None), None)
    values = {name: s.values for name, s in stacks.items()}
    return PreparedScan(channel, values, vae_modes, plain_modes, found, image.valid, first.masked, offset)


def _keypoints(scan: Scan, channel: str, image: NormalisedImage, name: str, config: Config, *, with_phase: bool) -> Keypoints:
    """Key points by the method `name`; walls are those of the vector if the search looks at the phase too."""
    method = load_keypoints(name, config.keypoint_options(name), config.directory)
    spacing_px, window_px = config.scan.spacing_px, max(config.search.windows_px)
    rng = stream(config.seed, Stream.KEYPOINTS)
    if name != WALLS:
        return find_keypoints(image, method, spacing_px=spacing_px, largest_window_px=window_px, rng=rng)
    response = response_of(scan, channel, image, with_phase=with_phase)
    return find_wall_keypoints(image, response, method, spacing_px=spacing_px, largest_window_px=window_px, rng=rng)


def _stacks(scan: Scan, channel: str, config: Config) -> dict[str, ChannelStack]:
    """Images by channel mode; for "auto" the amplitude, and also the vector if the scan contains the phase."""
    percentiles = config.scan.low_percentile, config.scan.high_percentile
    if config.scan.channels != ("auto",):
        return {mode: stack_channels(scan, channel, mode, *percentiles) for mode in config.scan.channels}
    full = stack_channels(scan, channel, "auto", *percentiles)
    alone = replace(full, values=full.values[:1], names=full.names[:1], phase_offset_rad=None)
    return {"amplitude": alone} if len(full.values) == 1 else {"amplitude": alone, "vector": full}
