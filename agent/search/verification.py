"""Finalists trained once more with the exact decoder: does the cheap one miss something, and do both see the same types?

The warp decoder's canonical patch has a resolution, which a network evaluated at each pixel has not. The exact decoder is trained
on a few pixels of each patch, drawn anew each step, which leaves its gradient unbiased and its cost the same for all windows.
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
    maker: CandidateBuilder,
    judge: Scorer,
) -> Iterator[VerificationRecord]:
    """A record for each of the best `count` trained configurations that tie, of its seed with the best held-out ELBO.

    Parameters
    ----------
    candidates, configurations
        Judged and compared; best configuration first.
    count
        How many at the most.
    maker, judge
        Train and score as they did for the candidates.
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
    made = maker.train(dict.fromkeys(models), steps, "verifying") if models else {}
    exact = {model: maker.candidate(model, m, steps) for model, m in made.items()}
    for model, c in models.items():
        assert c.score is not None
        points = min(int(exact[model].kept.sum()), int(c.score.metrics.get("n", len(c.kept))))
        judged = judge.judged([exact[model]], points)[0] if points else exact[model]
        yield VerificationRecord(
            configuration=c.configuration.name,
            seed=c.seed,
            steps=steps,
            elbo_per_px=c.representation.elbo_per_px,
            exact_elbo_per_px=judged.representation.elbo_per_px,
            exact_value=judged.score.value if judged.score else None,
            agreement=_agreement(c, judged),
        )


def _agreement(a: Candidate, b: Candidate) -> float | None:
    labels = [c.score.mixture.labels(c.representation.z) for c in (a, b) if c.score and c.score.mixture]
    return float(adjusted_rand_score(*map(np.asarray, labels))) if len(labels) == 2 else None
