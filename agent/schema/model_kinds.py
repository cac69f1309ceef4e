"""The kinds of representation by their short names, as records, figures and explanations use them. Loads no PyTorch."""

#: Latents that each invariance of a VAE sets apart: rotation, then the two of the translation, then scale.
GEOMETRIC_LATENTS = {"v": 0, "r": 1, "t": 2, "s": 1, "rt": 3, "rs": 2, "ts": 3, "rts": 4}

#: Families without training, plainest first.
PLAIN_FAMILIES = ("amplitude", "pca", "kmeans", "polar", "multi")

LABELS = {
    "v": "VAE",
    "r": "r-VAE",
    "t": "t-VAE",
    "s": "s-VAE",
    "rt": "rt-VAE",
    "rs": "rs-VAE",
    "ts": "ts-VAE",
    "rts": "rts-VAE",
    "amplitude": "amplitude bins",
    "pca": "PCA",
    "kmeans": "k-means",
    "polar": "polar PCA",
    "multi": "polar PCA of several windows",
    "consensus": "consensus",
}


def label(invariance: str, variant: str = "") -> str:
    """What people call a kind of representation, such as "r-VAE" or "r-VAE (d3)"."""
    name = LABELS.get(invariance, invariance)
    return f"{name} ({variant})" if variant else name
