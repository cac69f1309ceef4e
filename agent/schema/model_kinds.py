"""Short names and labels of the kinds of representation, for records, figures and explanations. Does not load PyTorch."""

#: Number of geometric latents for each invariance of a VAE: one for rotation, two for translation, one for scale.
GEOMETRIC_LATENTS = {"v": 0, "r": 1, "t": 2, "s": 1, "rt": 3, "rs": 2, "ts": 3, "rts": 4}

#: Families whose latents are the directions that are most constant along walls.
WALL_COHERENT = ("coherent", "coherent_multi")

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
    "coherent": "wall-coherent",
    "coherent_multi": "wall-coherent, several windows",
    "multi": "polar PCA of several windows",
    "consensus": "consensus",
}


def label(invariance: str, variant: str = "") -> str:
    """Label of a kind of representation, such as "r-VAE" or "r-VAE (d3)"."""
    name = LABELS.get(invariance, invariance)
    return f"{name} ({variant})" if variant else name
