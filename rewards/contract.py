"""Contract of rewards, to be checked by `check_reward`, the pytest class `RewardContract`, or `vaestar check-reward`.

The checks cover what the search relies on. Each violation is one sentence: what was done, what came back, what is expected.
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
    """A violation of the contract.

    Parameters
    ----------
    check
        Name of the check, one of `CHECKS`.
    sentence
        Sentence that states what was done, what came back and what is expected.
    warning
        True if the search works nevertheless, but the user should know.
    """

    check: str
    sentence: str
    warning: bool = False


class _BrokenError(Exception):
    """The reward violates the contract; the message becomes the sentence of the violation."""


class _DoubtfulError(Exception):
    """The reward does something allowed but rarely intended; the message becomes the sentence of a warning."""


def example(n: int = 300, d: int = 2, seed: int = 0, **changes: Any) -> Representation:
    """A realistic representation: three clusters in d latents, key points 5 px apart on a square lattice.

    Parameters
    ----------
    n, d
        Numbers of key points and of latent dimensions.
    seed
        Seed of the random draw.
    changes
        Fields of `Representation` to be replaced.
    """
    rng = np.random.default_rng(seed)
    cluster = np.sort(rng.integers(3, size=n))
    z = 2.0 * np.eye(3, d)[cluster] + 0.3 * rng.standard_normal((n, d))
    side = int(np.ceil(np.sqrt(n)))
    points = 5 * np.stack(np.divmod(np.arange(n), side), axis=1)
    result = Representation(
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
    return replace(result, **changes)


class _Subject:
    """The reward under test, called as the search calls it."""

    def __init__(self, reward: Callable[..., Any], options: Mapping[str, Any], limit_s: float) -> None:
        self.reward, self.options, self.limit_s = reward, dict(options), limit_s

    def __call__(self, representation: Representation, description: str) -> Score:
        """Score of `representation`, which messages call `description`.

        Raises
        ------
        _BrokenError
            If the reward raises, or returns no `Score` with a finite number.
        """
        try:
            score = self.reward(representation, rng=np.random.default_rng(_SEED), **self.options)
        except (Exception, SystemExit) as error:
            raise _BrokenError(f"on {description} it raised {type(error).__name__}: {_first_line(error)}") from error
        if not isinstance(score, Score):
            raise _BrokenError(f"on {description} it returned a {type(score).__name__}; return a rewards.base.Score")
        if not _is_number(score.value) or not np.isfinite(score.value):
            raise _BrokenError(f"on {description} its value is {score.value!r}; return a finite number, higher is better")
        return score


def _signature(subject: _Subject) -> None:
    try:
        parameters = signature(subject.reward).parameters
    except (TypeError, ValueError):
        return
    accepts_any_keyword = any(p.kind is Parameter.VAR_KEYWORD for p in parameters.values())
    if "rng" not in parameters and not accepts_any_keyword:
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
        raise _BrokenError(f"its metrics are a {type(metrics).__name__}; return a mapping of names to numbers")
    wrong = [f"{k!r}: {v!r}" for k, v in metrics.items() if not isinstance(k, str) or not _is_number(v)]
    if wrong:
        raise _BrokenError(f"its metrics contain {wrong[0]}; names must be text and values numbers")


def _repeatable(subject: _Subject) -> None:
    first, second = subject(example(), "300 points").value, subject(example(), "the same 300 points again").value
    if first != second:
        raise _BrokenError(f"the same points and rng gave {first!r}, then {second!r}; draw all random numbers from `rng`")


def _stateless(subject: _Subject) -> None:
    before = subject(example(), "300 points").value
    subject(example(150, seed=1), "150 other points")
    after = subject(example(), "the 300 points after others").value
    if before != after:
        raise _BrokenError(f"after another call the same points gave {after!r} instead of {before!r}; keep no state")


def _input_unchanged(subject: _Subject) -> None:
    given, original = example(results=_results(300)), example(results=_results(300))
    subject(given, "300 points")
    for field in fields(Representation):
        after, before = getattr(given, field.name), getattr(original, field.name)
        if isinstance(after, np.ndarray) and not np.array_equal(after, before):
            raise _BrokenError(f"it changed `{field.name}` of the representation; work on a copy")
    if given.results and original.results and not np.array_equal(given.results.values, original.results.values):
        raise _BrokenError("it changed the measured results; work on a copy")


def _row_order(subject: _Subject) -> None:
    order = np.random.default_rng(_SEED).permutation(300)
    value = subject(example(), "300 points").value
    shuffled = subject(example().take(order), "the same points shuffled").value
    if abs(value - shuffled) > _ROW_ORDER_TOLERANCE * max(abs(value), abs(shuffled)) + 1e-3:
        raise _DoubtfulError(
            f"in another order the same points gave {shuffled:.4g} instead of {value:.4g}; the order of the rows must not matter"
        )


def _dimensions(subject: _Subject) -> None:
    for d in (1, 2, 6):
        subject(example(d=d), f"latents of {d} dimension{'s' if d > 1 else ''}")


def _plain_families(subject: _Subject) -> None:
    untrained: dict[str, Any] = {
        "elbo_per_px": float("nan"),
        "reconstruction_per_px": float("nan"),
        "trained": False,
        "invariance": "polar",
    }
    try:
        subject(example(**untrained), "a plain family, which has no ELBO (NaN)")
    except _BrokenError as error:
        raise _DoubtfulError(f"{error}; with this reward, plain families are never chosen") from error


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
            f"2000 points took {taken:.1f} s of CPU time, more than {subject.limit_s:g} s; a search scores hundreds of candidates"
        )


def _importable(subject: _Subject) -> None:
    bound = partial(subject.reward, **subject.options) if subject.options else subject.reward
    try:
        pickle.loads(pickle.dumps(bound))  # noqa: S301 - pickled by this very line
    except Exception as error:  # pickling runs the user's code, which may raise anything
        raise _BrokenError(
            f"it cannot be sent to worker processes ({_first_line(error)}); define it at the top level of a module"
        ) from error


def _valid_mixture(subject: _Subject) -> None:
    for d in (1, 2):
        mixture = subject(example(d=d), f"latents of {d} dimensions").mixture
        if mixture is not None and not isinstance(mixture, Mixture):
            raise _BrokenError(f"its mixture is a {type(mixture).__name__}; return a rewards.base.Mixture, or None")
        if mixture is not None and (fault := mixture_fault(mixture, d)):
            raise _BrokenError(f"its mixture {fault}")


#: Name of each check -> the function that performs it.
CHECKS: Mapping[str, Callable[[_Subject], None]] = {
    "signature": _signature,
    "score": _score,
    "metrics": _metrics,
    "repeatable": _repeatable,
    "stateless": _stateless,
    "input_kept": _input_unchanged,
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
    """Violations of the contract by `reward`, in the order of `CHECKS`; empty if it keeps the contract. Never raises.

    If the reward cannot be called or gives no score for an ordinary representation, the remaining checks are skipped.

    Parameters
    ----------
    reward
        The function that the configuration names.
    options
        Options of the reward, `reward_options` in the configuration.
    limit_s
        Largest CPU time in seconds for 2,000 points in two dimensions.
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
    """Why a mixture cannot be used in d dimensions; empty if it can."""
    parts = mixture.weights, mixture.means, mixture.covariances
    if not all(
        isinstance(part, np.ndarray) and np.issubdtype(part.dtype, np.number) and np.isfinite(part).all() for part in parts
    ):
        return "is not made of arrays of finite numbers"
    K = len(np.atleast_1d(mixture.weights))
    shapes = mixture.weights.shape, mixture.means.shape, mixture.covariances.shape
    if shapes != ((K,), (K, d), (K, d, d)):
        return f"has shapes {shapes} in {d} dimensions; return weights (K,), means (K, {d}) and covariances (K, {d}, {d})"
    if (mixture.weights < 0).any() or abs(mixture.weights.sum() - 1) > 1e-6:
        return f"has weights that sum to {mixture.weights.sum():.6g}; they must be positive and sum to 1"
    if not np.allclose(mixture.covariances, np.swapaxes(mixture.covariances, 1, 2), rtol=1e-6):
        return "has a covariance that is not symmetric"
    smallest = np.linalg.eigvalsh(mixture.covariances).min()
    return "" if smallest > 0 else f"has a covariance with the eigenvalue {smallest:.3g}; covariances must be positive definite"


class RewardContract:
    """The contract as a pytest class: inherit and set `reward` (and `options`); each check becomes a test.

    class TestSilhouette(RewardContract):
        reward = silhouette
        options = {"clusters": 3}
    """

    reward: ClassVar[Callable[..., Any]]
    options: ClassVar[Mapping[str, Any]] = {}
    limit_s: ClassVar[float] = LIMIT_S


def _test_of(name: str) -> Callable[[RewardContract], None]:
    def test(self: RewardContract) -> None:
        cls = type(self)
        # Looked up on the class: on an instance, the function would become a bound method.
        broken = check_reward(cls.reward, cls.options, limit_s=cls.limit_s, checks=[name])
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
