"""The images of a scan as they were analysed for a decision, for figures and the dashboard."""

import numpy as np
from jaxtyping import Float32

from agent.preprocessing.channels import ChannelMode, stack_channels
from agent.preprocessing.square_pixels import resampled
from agent.preprocessing.wild_pixels import without_wild_pixels
from agent.schema.decision import DecisionRecord
from instrument_adapters.scan import Scan


def analysed_images(scan: Scan, record: DecisionRecord, mode: ChannelMode = "amplitude") -> Float32[np.ndarray, "C rows cols"]:
    """Images in [0, 1] from which the patches of a decision were cut, in the pixels of its key points.

    Raises
    ------
    UnusableScanError, UnknownChannelError
        If `scan` is not the one that was decided on.
    """
    settings = record.config["scan"]
    if settings.get("rules", 1) > 1:  # records of earlier versions name no rules
        scan, _ = without_wild_pixels(scan)
    stack = stack_channels(scan, record.channel, mode, settings["low_percentile"], settings["high_percentile"])
    return resampled(stack.values, scan.frame, record.analysed_frame)
