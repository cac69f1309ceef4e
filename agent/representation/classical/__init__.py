"""Plain families: representations that need no training. A VAE must beat them, and on simulated surfaces often does not.

- "amplitude": mean and spread of the amplitude (see `amplitude`).
- "pca": principal components of the patches (K. Pearson, Phil. Mag. 2, 559, 1901).
- "kmeans": the patches within the span of d + 1 centroids of k-means (see `kmeans`).
- "polar": principal components of rotation-averaged Fourier magnitudes on rings around the patch's centre (see `polar`).
- "coherent": the directions of polar features that are most constant along domain walls (see `coherent`).
- "multi": the polar features of several windows together.

Latents are scaled to unit variance, as a VAE's prior demands, so that guards and filters mean the same for both.
"""

from agent.representation.classical.amplitude import amplitude_moments
from agent.representation.classical.encoding import encode_plain, represent_plain
from agent.representation.classical.kmeans import k_means
from agent.representation.classical.pca import Basis
from agent.representation.classical.polar import polar_magnitudes
from agent.representation.classical.spec import PlainSpec

__all__ = ["Basis", "PlainSpec", "amplitude_moments", "encode_plain", "k_means", "polar_magnitudes", "represent_plain"]
