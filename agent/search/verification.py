"""Verifies the best configurations with the exact decoder: compares held-out ELBO and clusters with those of the warp decoder.

The warp decoder's canonical patch has a limited resolution; a network evaluated at each pixel has not. The exact decoder is
trained on a few pixels of each patch, drawn anew in each step; its gradient stays unbiased, and its cost is the same for all
windows.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from sklearn.metrics import adjusted_rand_score

from agent.representation.vae.spec import ModelSpec
from agent.schema.decision import ConfigurationRecord, VerificationRecord
from agent.search.candidate_builder import CandidateBuilder
from agent.search.candidates import Candidate
from agent.search.scoring import Scorer

SAMPLED_PX = 16


def verify(
    candidates: Sequence[Candidate],
    configurations: Sequence[ConfigurationRecord],
    count: int,
    builder: CandidateBuilder,
    scorer: Scorer,
) -> Iterator[VerificationRecord]:
    """Verify the best VAE configurations of the tie set, each by its seed with the best held-out ELBO.

    Parameters
    ----------
    candidates
        Scored candidates.
    configurations
        Ranked configurations, best first.
    count
        Largest number of configurations to verify.
    builder
        Builder that trained the candidates.
    scorer
        Scorer of the candidates.

    Yields
    ------
    VerificationRecord
        Comparison of one finalist with the same model trained with the exact decoder.
    """
    finalists = []
    for record in configurations:
        seeds = [c for c in candidates if c.score and c.configuration.name == record.name and c.configuration.trained]
        if record.in_tie_set and seeds:
            finalists.append(max(seeds, key=lambda c: (c.representation.elbo_per_px, -c.seed)))
    finalists = finalists[:count]
    models = {}
    for c in finalists:
        assert isinstance(c.spec, ModelSpec)
        spec = replace(c.spec, decoder="exact", sampled_px=min(SAMPLED_PX, c.spec.pixels))
        models[replace(c.configuration, spec=spec), c.seed] = c
    steps = max((c.steps for c in finalists), default=0)
    fitted = builder.train(dict.fromkeys(models), steps, "verifying") if models else {}
    exact = {model: builder.candidate(model, f, steps) for model, f in fitted.items()}
    for model, c in models.items():
        assert c.score is not None
        points = min(int(exact[model].kept.sum()), int(c.score.metrics.get("n", len(c.kept))))
        scored = scorer.score([exact[model]], points)[0] if points else exact[model]
        yield VerificationRecord(
            configuration=c.configuration.name,
            seed=c.seed,
            steps=steps,
            elbo_per_px=c.representation.elbo_per_px,
            exact_elbo_per_px=scored.representation.elbo_per_px,
            exact_value=scored.score.value if scored.score else None,
            agreement=_agreement(c, scored),
        )


def _agreement(a: Candidate, b: Candidate) -> float | None:
    labels = [c.score.mixture.labels(c.representation.z) for c in (a, b) if c.score and c.score.mixture]
    return float(adjusted_rand_score(*map(np.asarray, labels))) if len(labels) == 2 else None
