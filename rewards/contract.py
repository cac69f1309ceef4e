"""The contract of rewards as a suite that anyone can run on theirs: `check_reward`, `RewardContract`, `vaestar check-reward`.

What is checked is what the search relies on. A violation is one sentence: what was done, what came back, what is right.
"""

import pickle
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from inspect import Parameter, signature
from typing import Any, ClassVar

import numpy as np

from rewards.base import MeasuredResults, Mixture, Representation, Score

LIMIT_S = 30.0
_ROW_ORDER_TOLERANCE = 0.05
_SEED = 20


@dataclass(frozen=True)
class Violation:
    """One broken promise.

    Parameters
    ----------
    check
        The name of the check, one of `CHECKS`.
    sentence
        What was done, what came back, what is right.
    warning
        True where the search goes on all the same, but the user should know.
    """

    check: str
    sentence: str
    warning: bool = False


class _BrokenError(Exception):
    """A reward broke a promise; the message is the sentence."""


class _DoubtfulError(Exception):
    """A reward does what is allowed and rarely meant; the message is the sentence."""


def example(n: int = 300, d: int = 2, seed: int = 0, **changes: Any) -> Representation:
    """A lifelike representation: three clusters in d latents, key points 5 px apart on a square lattice.

    Parameters
    ----------
    n, d
        Key points and latent dimensions.
    seed
        Of the draw.
    changes
        Fields of `Representation` that shall be different.
    """
    rng = np.random.default_rng(seed)
    which = np.sort(rng.integers(3, size=n))
    z = 2.0 * np.eye(3, d)[which] + 0.3 * rng.standard_normal((n, d))
    side = int(np.ceil(np.sqrt(n)))
    points = 5 * np.stack(np.divmod(np.arange(n), side), axis=1)
    made = Representation(
        z=z,
        z_std=np.full((n, d), 0.1),
        z_rotated=z + 0.05 * rng.standard_normal((n, d)),
        z_mirrored=z + 0.05 * rng.standard_normal((n, d)),
        points_rc=points,
        window_px=9,
        invariance="r",
        seed=seed,
        elbo_per_px=-0.55,
        reconstruction_per_px=-0.5,
    )
    return replace(made, **changes)


class _Subject:
    """The reward under test, called as the search calls it."""

    def __init__(self, reward: Callable[..., Any], options: Mapping[str, Any], limit_s: float) -> None:
        self.reward, self.options, self.limit_s = reward, dict(options), limit_s

    def __call__(self, representation: Representation, what: str) -> Score:
        """The score of `representation`, which is `what`; whatever goes wrong becomes a sentence."""
        try:
            score = self.reward(representation, rng=np.random.default_rng(_SEED), **self.options)
        except (Exception, SystemExit) as error:
            raise _BrokenError(f"on {what} it raised {type(error).__name__}: {_first_line(error)}") from error
        if not isinstance(score, Score):
            raise _BrokenError(f"on {what} it returned a {type(score).__name__}; return a rewards.base.Score")
        if not _is_number(score.value) or not np.isfinite(score.value):
            raise _BrokenError(f"on {what} its value is {score.value!r}; return a finite number, higher is better")
        return score


def _signature(subject: _Subject) -> None:
    try:
        parameters = signature(subject.reward).parameters
    except (TypeError, ValueError):
        return
    open_ended = any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())
    if "rng" not in parameters and not open_ended:
        raise _BrokenError("it takes no keyword 'rng'; its signature must be (representation, *, rng, ...)")
    try:
        signature(subject.reward).bind(None, rng=None, **subject.options)
    except TypeError as error:
        raise _BrokenError(f"it cannot be called as reward(representation, rng=..., **options): {error}") from error


def _score(subject: _Subject) -> None:
    subject(example(), "300 points")


def _metrics(subject: _Subject) -> None:
    metrics = subject(example(), "300 points").metrics
    if not isinstance(metrics, Mapping):
        raise _BrokenError(f"its metrics are a {type(metrics).__name__}; give a mapping of names to numbers")
    wrong = [f"{k!r}: {v!r}" for k, v in metrics.items() if not isinstance(k, str) or not _is_number(v)]
    if wrong:
        raise _BrokenError(f"its metrics hold {wrong[0]}; names must be text and values numbers")


def _repeatable(subject: _Subject) -> None:
    one, two = subject(example(), "300 points").value, subject(example(), "the same 300 points again").value
    if one != two:
        raise _BrokenError(f"twice the same points and rng gave {one!r} and {two!r}; draw everything from `rng`")


def _stateless(subject: _Subject) -> None:
    before = subject(example(), "300 points").value
    subject(example(150, seed=1), "150 other points")
    after = subject(example(), "the 300 points after others").value
    if before != after:
        raise _BrokenError(f"after another call the same points gave {after!r} and not {before!r}; keep nothing between calls")


def _input_kept(subject: _Subject) -> None:
    given, kept = example(results=_results(300)), example(results=_results(300))
    subject(given, "300 points")
    for field in fields(Representation):
        one, two = getattr(given, field.name), getattr(kept, field.name)
        if isinstance(one, np.ndarray) and not np.array_equal(one, two):
            raise _BrokenError(f"it changed `{field.name}` of what it was given; work on a copy")
    if given.results and kept.results and not np.array_equal(given.results.values, kept.results.values):
        raise _BrokenError("it changed the measured results that it was given; work on a copy")


def _row_order(subject: _Subject) -> None:
    order = np.random.default_rng(_SEED).permutation(300)
    one, two = subject(example(), "300 points").value, subject(example().take(order), "the same points shuffled").value
    if abs(one - two) > _ROW_ORDER_TOLERANCE * max(abs(one), abs(two)) + 1e-3:
        raise _DoubtfulError(
            f"in another order the same points gave {two:.4g} and not {one:.4g}; the order of rows means nothing"
        )


def _dimensions(subject: _Subject) -> None:
    for d in (1, 2, 6):
        subject(example(d=d), f"latents of {d} dimension{'s' if d > 1 else ''}")


def _plain_families(subject: _Subject) -> None:
    nothing: dict[str, Any] = {
        "elbo_per_px": float("nan"),
        "reconstruction_per_px": float("nan"),
        "trained": False,
        "invariance": "polar",
    }
    try:
        subject(example(**nothing), "a plain family, which has no ELBO (NaN)")
    except _BrokenError as error:
        raise _DoubtfulError(f"{error}; as it is, plain families are never chosen") from error


def _results_or_none(subject: _Subject) -> None:
    subject(example(results=_results(0)), "0 measured results")
    subject(example(results=_results(40)), "40 measured results")


def _sizes(subject: _Subject) -> None:
    subject(example(100), "100 points")
    started = time.process_time()
    subject(example(2000), "2000 points")
    taken = time.process_time() - started
    if taken > subject.limit_s:
        raise _BrokenError(
            f"2000 points took {taken:.1f} s of CPU time, more than {subject.limit_s:g} s; a search judges hundreds"
        )


def _importable(subject: _Subject) -> None:
    bound = partial(subject.reward, **subject.options) if subject.options else subject.reward
    try:
        pickle.loads(pickle.dumps(bound))  # noqa: S301 - what was pickled a moment ago
    except Exception as error:  # pickling runs the user's code
        raise _BrokenError(
            f"it cannot be sent to worker processes ({_first_line(error)}); define it at the top level of a module"
        ) from error


def _valid_mixture(subject: _Subject) -> None:
    for d in (1, 2):
        mixture = subject(example(d=d), f"latents of {d} dimensions").mixture
        if mixture is not None and not isinstance(mixture, Mixture):
            raise _BrokenError(f"its mixture is a {type(mixture).__name__}; give a rewards.base.Mixture, or none")
        if mixture is not None and (fault := mixture_fault(mixture, d)):
            raise _BrokenError(f"its mixture {fault}")


#: Name of a check -> what is checked.
CHECKS: Mapping[str, Callable[[_Subject], None]] = {
    "signature": _signature,
    "score": _score,
    "metrics": _metrics,
    "repeatable": _repeatable,
    "stateless": _stateless,
    "input_kept": _input_kept,
    "row_order": _row_order,
    "dimensions": _dimensions,
    "plain_families": _plain_families,
    "results": _results_or_none,
    "sizes": _sizes,
    "importable": _importable,
    "mixture": _valid_mixture,
}


def check_reward(
    reward: Callable[..., Any], options: Mapping[str, Any] = {}, *, limit_s: float = LIMIT_S, checks: Iterable[str] | None = None
) -> list[Violation]:
    """What the reward breaks of the contract, in the order of `CHECKS`; empty where it keeps it. Never raises.

    A reward that cannot be called, or gives no score for an ordinary representation, is asked no further.

    Parameters
    ----------
    reward
        What the configuration names.
    options
        Its `reward_options`.
    limit_s
        The CPU time that 2,000 points in the plane may take.
    checks
        Names of the checks to run; all by default.
    """
    subject, found = _Subject(reward, options, limit_s), []
    for name in CHECKS if checks is None else checks:
        try:
            CHECKS[name](subject)
        except _BrokenError as error:
            found.append(Violation(name, str(error)))
            if name in ("signature", "score"):
                break
        except _DoubtfulError as error:
            found.append(Violation(name, str(error), warning=True))
    return found


def mixture_fault(mixture: Mixture, d: int) -> str:
    """What makes a mixture unusable in d dimensions; empty where nothing does."""
    parts = mixture.weights, mixture.means, mixture.covariances
    if not all(
        isinstance(part, np.ndarray) and np.issubdtype(part.dtype, np.number) and np.isfinite(part).all() for part in parts
    ):
        return "is not made of arrays of finite numbers"
    K = len(np.atleast_1d(mixture.weights))
    shapes = mixture.weights.shape, mixture.means.shape, mixture.covariances.shape
    if shapes != ((K,), (K, d), (K, d, d)):
        return f"has shapes {shapes} in {d} dimensions; give weights (K,), means (K, {d}) and covariances (K, {d}, {d})"
    if (mixture.weights < 0).any() or abs(mixture.weights.sum() - 1) > 1e-6:
        return f"has weights that sum to {mixture.weights.sum():.6g}; they must be positive and sum to 1"
    if not np.allclose(mixture.covariances, np.swapaxes(mixture.covariances, 1, 2), rtol=1e-6):
        return "has a covariance that is not symmetric"
    smallest = np.linalg.eigvalsh(mixture.covariances).min()
    return "" if smallest > 0 else f"has a covariance with the eigenvalue {smallest:.3g}; covariances must be positive definite"


class RewardContract:
    """The contract as a pytest class: inherit, and set `reward` (and `options`); each check is a test.

    class TestSilhouette(RewardContract):
        reward = silhouette
        options = {"clusters": 3}
    """

    reward: ClassVar[Callable[..., Any]]
    options: ClassVar[Mapping[str, Any]] = {}
    limit_s: ClassVar[float] = LIMIT_S


def _test_of(name: str) -> Callable[[RewardContract], None]:
    def test(self: RewardContract) -> None:
        kind = type(self)
        # From the class: a function that is looked up on the instance would become its method.
        broken = check_reward(kind.reward, kind.options, limit_s=kind.limit_s, checks=[name])
        assert not [v.sentence for v in broken if not v.warning]

    test.__doc__ = f"The check '{name}'."
    return test


for _name in CHECKS:
    setattr(RewardContract, f"test_{_name}", _test_of(_name))


def _results(m: int) -> MeasuredResults:
    rng = np.random.default_rng(m)
    return MeasuredResults(rng.uniform(0, 85, (m, 2)), rng.standard_normal((m, 2)), ("area (V)", "bias (V)"))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]
