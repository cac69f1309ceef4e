"""How the chosen model sees patches: its reconstruction of any key point's patch, or the next best thing."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8

from agent.dashboard.numpy_decoder import reconstruct
from agent.preprocessing.channels import stack_channels
from agent.preprocessing.patches import cut_patches
from agent.reporting.figures.chosen_candidate import Chosen, chosen_of
from agent.representation.vae.spec import ModelSpec
from agent.schema.decision import Decision
from agent.search.warm_start import WEIGHTS
from instrument_adapters.scan import Scan

BLOCK = 256  # patches that are reconstructed at a time
BY_DECODER, BY_FIT = "by its decoder", "least squares from its latents (it has no decoder)"


def made_by(decision: Decision) -> str:
    """How reconstructions of the chosen model come about; "" if there are none."""
    if decision.record.chosen is None or "labels" not in decision.arrays:
        return ""
    return BY_DECODER if f"{WEIGHTS}{decision.record.chosen}" in decision.arrays else BY_FIT


@dataclass(frozen=True, eq=False)
class Looks:
    """Patches of a decision's key points and what the chosen model makes of them.

    Parameters
    ----------
    chosen
        The candidate with its points.
    images
        Shape (C, rows, cols): what its patches are cut from, in [0, 1].
    spec, weights
        Of a VAE; None, and no weights, where the decision holds none.
    line
        Shape (1 + d, w²): then the patches that fit the latents best, affine in them.
    """

    chosen: Chosen
    images: Float32[np.ndarray, "C rows cols"]
    spec: ModelSpec | None
    weights: Float32[np.ndarray, " p"]
    line: Float[np.ndarray, "_ pixels"]

    @classmethod
    def of(cls, scan: Scan, decision: Decision) -> "Looks":
        """Of a decision that chose something, and the scan that it is on.

        Raises
        ------
        FigureError
            If nothing was chosen.
        """
        chosen, config = chosen_of(decision), decision.record.config
        candidate, percentiles = chosen.candidate, (config["scan"]["low_percentile"], config["scan"]["high_percentile"])
        mode = candidate.channels or "amplitude"
        images = stack_channels(scan, decision.record.channel, mode, *percentiles).values  # type: ignore[arg-type]
        weights = decision.arrays.get(f"{WEIGHTS}{candidate.candidate_id}")
        if weights is None:
            patches = cut_patches(images[:1], chosen.points_rc, candidate.window_px).reshape(len(chosen.z), -1)
            line = np.linalg.lstsq(_affine(chosen.z), patches, rcond=None)[0]
            return cls(chosen, images, None, np.empty(0, np.float32), line)
        decoder, likelihood = config["search"]["decoder"], config["search"]["likelihood"]
        window_px, invariance, latent_dim = candidate.window_px, candidate.invariance, candidate.latent_dim
        spec = ModelSpec(window_px, invariance, latent_dim, len(images), candidate.beta, decoder, likelihood)
        return cls(chosen, images, spec, weights.astype(np.float32), np.empty((0, 0)))

    def reconstructions(self, first: int) -> UInt8[np.ndarray, "n w w"]:
        """Of the main channel's patches of the key points `first` to `first + BLOCK`, 0 to 255."""
        rows = slice(first, first + BLOCK)
        w = self.chosen.candidate.window_px
        if self.spec is None:
            made = _affine(self.chosen.z[rows]) @ self.line
        else:
            made = reconstruct(cut_patches(self.images, self.chosen.points_rc[rows], w), self.spec, self.weights)[:, 0]
        return np.asarray(np.clip(made, 0, 1) * 255 + 0.5, dtype=np.uint8).reshape(-1, w, w)


def _affine(z: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(z)), z])
