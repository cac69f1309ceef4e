"""Reconstructions of patches by the chosen model, or by a least-squares fit where it has no decoder."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8

from agent.dashboard.numpy_decoder import reconstruct
from agent.preprocessing.analysed_images import analysed_images
from agent.preprocessing.patches import cut_patches
from agent.reporting.figures.chosen_candidate import Chosen, chosen_of
from agent.representation.vae.spec import ModelSpec
from agent.schema.decision import Decision
from agent.search.warm_start import WEIGHTS
from instrument_adapters.scan import Scan

BLOCK = 256  # patches in one response
BY_DECODER, BY_FIT = "by the decoder of the model", "least-squares fit to the latents (this model has no decoder)"


def reconstruction_method(decision: Decision) -> str:
    """Return how patches of the decision are reconstructed; "" if nothing was chosen."""
    if decision.record.chosen is None or "labels" not in decision.arrays:
        return ""
    return BY_DECODER if f"{WEIGHTS}{decision.record.chosen}" in decision.arrays else BY_FIT


@dataclass(frozen=True, eq=False)
class PatchReconstructor:
    """Reconstructs the patches of a decision's key points with the chosen model.

    Parameters
    ----------
    chosen
        Chosen candidate with its key points.
    images
        Images that the patches are cut from, shape (C, rows, cols), in [0, 1].
    spec, weights
        Architecture and weights of the VAE; None and empty where the decision holds no weights.
    affine_fit
        Without a VAE: coefficients of the least-squares fit of the patches to their latents, shape (1 + d, w²).
    """

    chosen: Chosen
    images: Float32[np.ndarray, "C rows cols"]
    spec: ModelSpec | None
    weights: Float32[np.ndarray, " p"]
    affine_fit: Float[np.ndarray, "_ pixels"]

    @classmethod
    def of(cls, scan: Scan, decision: Decision) -> "PatchReconstructor":
        """Build it from a scan and the decision on it.

        Raises
        ------
        FigureError
            If nothing was chosen.
        """
        chosen, config = chosen_of(decision), decision.record.config
        candidate = chosen.candidate
        images = analysed_images(scan, decision.record, candidate.channels or "amplitude")  # type: ignore[arg-type]
        weights = decision.arrays.get(f"{WEIGHTS}{candidate.candidate_id}")
        if weights is None:
            patches = cut_patches(images[:1], chosen.points_rc, candidate.window_px).reshape(len(chosen.z), -1)
            affine_fit = np.linalg.lstsq(_affine(chosen.z), patches, rcond=None)[0]
            return cls(chosen, images, None, np.empty(0, np.float32), affine_fit)
        decoder, likelihood = config["search"]["decoder"], config["search"]["likelihood"]
        window_px, invariance, latent_dim = candidate.window_px, candidate.invariance, candidate.latent_dim
        spec = ModelSpec(window_px, invariance, latent_dim, len(images), candidate.beta, decoder, likelihood)
        return cls(chosen, images, spec, weights.astype(np.float32), np.empty((0, 0)))

    def reconstructions(self, first: int) -> UInt8[np.ndarray, "n w w"]:
        """Return reconstructions of the main channel for the key points `first` to `first + BLOCK`, from 0 to 255."""
        rows = slice(first, first + BLOCK)
        w = self.chosen.candidate.window_px
        if self.spec is None:
            reconstructed = _affine(self.chosen.z[rows]) @ self.affine_fit
        else:
            reconstructed = reconstruct(cut_patches(self.images, self.chosen.points_rc[rows], w), self.spec, self.weights)[:, 0]
        return np.asarray(np.clip(reconstructed, 0, 1) * 255 + 0.5, dtype=np.uint8).reshape(-1, w, w)


def _affine(z: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(z)), z])
