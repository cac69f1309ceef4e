"""A scan as the search sees it: images of each channel mode, and key points that hold for all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float32

from agent.config.model import Config
from agent.preprocessing.channels import ChannelStack, stack_channels
from agent.preprocessing.keypoints import Keypoints, find_keypoints
from agent.schema.seed_streams import Stream, stream
from agent.search.plugins import load_keypoints
from instrument_adapters.scan import Scan
from rewards.base import MeasuredResults


@dataclass(frozen=True, eq=False)
class PreparedScan:
    """Images and key points.

    Parameters
    ----------
    channel
        Full name of the main channel.
    stacks
        Channel mode -> shape (C, rows, cols), in [0, 1]; the first channel is the main one, and key points lie where all are
        valid.
    vae_modes, plain_modes
        Which of them VAEs and plain families are given, each a candidate of its own.
    keypoints
        Method -> its key points; windows, models and channels share them.
    valid
        Shape (rows, cols): where all images are valid.
    masked
        Reason -> how many lines or pixels are invalid for it.
    phase_offset_rad
        The fitted phase offset; None where no phase is used.
    results
        What has been measured near to key points; None where nothing was.
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
    """The scene that `scan` is to a search with `config`; no patch holds any of `bad_lines`.

    Raises
    ------
    UnusableScanError
        If nothing can be represented: no contrast, too few pixels or walls, smaller than a window.
    UnknownChannelError
        If the scan does not hold a configured channel.
    PluginError
        If a key-point method cannot be used.
    """
    channel = scan.find_channel(config.channel)
    stacks = _stacks(scan, channel, config)
    first = next(iter(stacks.values())).image
    valid = np.logical_and.reduce([stack.image.valid for stack in stacks.values()])
    image = replace(first, valid=valid if bad_lines is None else valid & ~bad_lines[:, None])
    found = {
        name: find_keypoints(
            image,
            load_keypoints(name, config.options_of(name), config.directory),
            spacing_px=config.scan.spacing_px,
            largest_window_px=max(config.search.windows_px),
            rng=stream(config.seed, Stream.KEYPOINTS),
        )
        for name in config.keypoints
    }
    modes = tuple(stacks)
    # Three channels would double the time of training.
    vae_modes, plain_modes = (modes[:1], modes[-1:]) if config.scan.channels == ("auto",) else (modes, modes)
    offset = next((s.phase_offset_rad for s in stacks.values() if s.phase_offset_rad is not None), None)
    values = {name: s.values for name, s in stacks.items()}
    return PreparedScan(channel, values, vae_modes, plain_modes, found, image.valid, first.masked, offset)


def _stacks(scan: Scan, channel: str, config: Config) -> dict[str, ChannelStack]:
    """Channel mode -> images; for "auto" the amplitude, and the vector where the scan holds the phase."""
    percentiles = config.scan.low_percentile, config.scan.high_percentile
    if config.scan.channels != ("auto",):
        return {mode: stack_channels(scan, channel, mode, *percentiles) for mode in config.scan.channels}
    full = stack_channels(scan, channel, "auto", *percentiles)
    alone = replace(full, values=full.values[:1], names=full.names[:1], phase_offset_rad=None)
    return {"amplitude": alone} if len(full.values) == 1 else {"amplitude": alone, "vector": full}
