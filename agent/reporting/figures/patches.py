"""Figure of the patches of each cluster: the mean of the core patches and the most typical ones."""

import numpy as np
from jaxtyping import Float32
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from agent.preprocessing.analysed_images import analysed_images
from agent.preprocessing.patches import cut_patches
from agent.reporting.figures.chosen_candidate import Chosen, chosen_of
from agent.reporting.figures.style import DARK, MEDIUM, SMALL, colour, new_figure, prefixed
from agent.schema.decision import ClusterRecord, Decision
from agent.schema.model_kinds import GEOMETRIC_LATENTS, label
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan

EXAMPLES = 8
_ROW_IN = 0.72
_CHANGES = {"r": "rotated", "t": "shifted", "s": "scaled"}


def patch_figure(scan: Scan, decision: Decision) -> Figure:
    """One strip for each cluster: the mean patch of its core points, then its most typical patches, most typical first.

    These are the patches that the chosen model was given, on the grey scale of the normalised image, with rows upwards as in the
    scan.

    Raises
    ------
    FigureError
        If nothing was chosen.
    """
    record, chosen = decision.record, chosen_of(decision)
    image = analysed_images(scan, record)[0]
    clusters = record.clusters
    figure = new_figure(height_in=_ROW_IN * len(clusters) + 0.85)
    ratios = [1.0, 0.35, *[1.0] * EXAMPLES]
    panels = figure.subplots(len(clusters), len(ratios), squeeze=False, width_ratios=ratios)
    for axes in panels.flat:
        axes.set_axis_off()
    for cluster, row in zip(clusters, panels, strict=True):
        _draw_strip(list(row), image, chosen, cluster)
    panels[0, 0].set_title("mean of\ncore", fontsize=SMALL, color=DARK)
    panels[0, 2].set_title("most typical first", fontsize=SMALL, color=DARK, loc="left")
    figure.suptitle(_title(record.scan_id, record.analysed_frame, chosen), fontsize=MEDIUM)
    return figure


def _draw_strip(row: list[Axes], image: Float32[np.ndarray, "rows cols"], chosen: Chosen, cluster: ClusterRecord) -> None:
    core = chosen.core_of(cluster.cluster)
    mean, _, *examples = row
    mean.text(
        -0.12,
        0.5,
        f"cluster {cluster.cluster}\n{len(core)} core",
        fontsize=SMALL,
        color=DARK,
        ha="right",
        va="center",
        transform=mean.transAxes,
    )
    if not len(core):
        return
    patches = cut_patches(image[None], chosen.points_rc[core], chosen.candidate.window_px)[:, 0]
    _draw_patch(mean, patches.mean(axis=0), cluster.cluster)
    for axes, patch in zip(examples, patches, strict=False):
        _draw_patch(axes, patch, cluster.cluster)


def _draw_patch(axes: Axes, patch: Float32[np.ndarray, "w w"], cluster: int) -> None:
    axes.imshow(patch, cmap="gray", vmin=0.0, vmax=1.0, origin="lower", interpolation="nearest")
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set(color=colour(cluster), linewidth=1.5)


def _title(scan_id: str, frame: Frame, chosen: Chosen) -> str:
    c = chosen.candidate
    slow, fast = (p * c.window_px for p in frame.pitch_m)
    factor, unit = prefixed("m", max(slow, fast))
    size = f"{fast * factor:.3g} × {slow * factor:.3g} {unit}"
    title = f"{scan_id}: patches of {label(c.invariance, c.variant)}, window {c.window_px} px ({size})"
    if GEOMETRIC_LATENTS.get(c.invariance, 0):
        changes = " or ".join(_CHANGES[letter] for letter in c.invariance)
        title += f"\nas recorded: this model ignores that patches are {changes}, so the mean of a type is blurred"
    return title
