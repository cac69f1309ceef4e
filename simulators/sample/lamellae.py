"""Patterns of in-plane (a) domains inside one superdomain: stripes, needles, herringbone.

Each function takes the n pixels of one superdomain in crystal coordinates (u, v) in metres, with u across the lamellae.
`Disorder` holds two unit-variance fields at the same pixels that make the pattern irregular.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from instrument_adapters.geometry import Positive
from simulators.settings import NonNegative, Settings, Share

_TABLE = 4001  # rows of random numbers, one for each lamella; more than any superdomain has
_TIP_M = 110e-9  # a needle reaches its full width this far from its tip
_TIP_EXPONENT = 0.8
_STRIPE_TAPER_M = 150e-9
_STRIPE_TAPER_EXPONENT = 0.6
_SPARSENESS = 5.0  # factor of the distance between needles in sparse superdomains


class StripeConfig(Settings):
    """Settings of stripes: long lamellae at a regular distance. `period_spread` and `fill` are relative to the period."""

    period_m: Positive = 220e-9
    period_spread: Share = 0.1
    fill: Share = 0.42
    length_m: Positive = 900e-9


class NeedleConfig(Settings):
    """Settings of needles: short lamellae that end in tips. The longest needle has `length_spread` times `length_m`."""

    spacing_m: Positive = 160e-9
    width_m: Positive = 32e-9
    length_m: Positive = 250e-9
    length_spread: Positive = 2.8


class HerringboneConfig(Settings):
    """Settings of herringbone: lamellae reflected at 45° junction lines that are `band_min_m` to `band_max_m` apart."""

    period_m: Positive = 100e-9
    period_spread: Share = 0.1
    fill: Share = 0.5
    band_min_m: Positive = 160e-9
    band_max_m: Positive = 260e-9


@dataclass(frozen=True, eq=False)
class Disorder:
    """Irregularity of the lamellae: an amount (0 for a perfect lattice) and two fields at the superdomain's pixels."""

    amount: NonNegative
    phase: Float[np.ndarray, " n"]
    fill: Float[np.ndarray, " n"]


@dataclass(frozen=True, eq=False)
class Lamellae:
    """For each pixel: whether it is in an a domain, the 90° family (0 or 1) of the lamella, and its number."""

    in_plane: Bool[np.ndarray, " n"]
    family: Int[np.ndarray, " n"]
    number: Int[np.ndarray, " n"]


def stripes(
    u: Float[np.ndarray, " n"], v: Float[np.ndarray, " n"], disorder: Disorder, config: StripeConfig, rng: np.random.Generator
) -> Lamellae:
    """Lamellae of one family with varying width and tapered ends."""
    period = config.period_m * rng.uniform(1 - config.period_spread, 1 + config.period_spread)
    number, offset = _lattice(u / period + 0.18 * disorder.amount * disorder.phase)
    own = _uniform_per_lamella(number, 3, rng)
    irregular = 0.08 * disorder.fill + 0.12 * (own[:, 0] - 0.5)
    fill = config.fill + irregular * min(1.0, 2 * disorder.amount)
    to_end = _distance_to_end(v, config.length_m * (1 + own[:, 1]), own[:, 2])
    taper = np.clip(to_end / _STRIPE_TAPER_M, 0, 1) ** _STRIPE_TAPER_EXPONENT
    return Lamellae(np.abs(offset) < 0.5 * fill * taper, np.zeros(len(u), int), number)


def needles(
    u: Float[np.ndarray, " n"],
    v: Float[np.ndarray, " n"],
    config: NeedleConfig,
    rng: np.random.Generator,
    *,
    sparse: bool = False,
) -> Lamellae:
    """Lamellae of one family whose width grows as (distance to the tip / 110 nm)^0.8, with gaps between them.

    Each lattice line is a sequence of needles, each of which fills a random 55 to 95 % of its cell.
    """
    spacing = config.spacing_m * rng.uniform(0.85, 1.2) * (_SPARSENESS if sparse else 1.0)
    number, offset = _lattice(u / spacing)
    own = _uniform_per_lamella(number, 5, rng)
    cell = config.length_m * (1 + (config.length_spread - 1) * own[:, 0])
    duty = 0.55 + 0.4 * own[:, 1]
    along = np.mod(v / cell + own[:, 2], 1.0)
    to_tip = np.minimum(along, duty - along) * cell
    width = config.width_m * (0.7 + 0.6 * own[:, 3]) * np.clip(to_tip / _TIP_M, 0, 1) ** _TIP_EXPONENT
    aside = np.abs(offset - 0.25 * (own[:, 4] - 0.5)) * spacing
    return Lamellae((aside < width / 2) & (to_tip > 0), np.zeros(len(u), int), number)


def herringbone(
    u: Float[np.ndarray, " n"],
    v: Float[np.ndarray, " n"],
    disorder: Disorder,
    config: HerringboneConfig,
    rng: np.random.Generator,
) -> Lamellae:
    """Lamellae of both families that meet at junction lines q = (u + v)/√2 = const and continue there.

    In even bands the phase is u + c, in odd bands c - v; at a junction q the constant changes by ±√2 q, which makes the
    phase continuous.
    """
    q = (u + v) / math.sqrt(2) + 0.15 * disorder.amount * config.band_min_m * disorder.phase
    junctions = _junctions(float(q.min()), float(q.max()), config, rng)
    band = np.searchsorted(junctions, q)
    turn = math.sqrt(2) * junctions * np.where(np.arange(len(junctions)) % 2 == 0, 1.0, -1.0)
    constant = np.concatenate([[0.0], np.cumsum(turn)])
    odd = band % 2 == 1
    period = config.period_m * rng.uniform(1 - config.period_spread, 1 + config.period_spread)
    phase = (np.where(odd, -v, u) + constant[band]) / period
    number, offset = _lattice(phase + 0.12 * disorder.amount * disorder.phase)
    fill = config.fill + 0.06 * disorder.amount * disorder.fill
    return Lamellae(np.abs(offset) < 0.5 * fill, odd.astype(int), number)


def _lattice(phase: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(number of the cell, offset from its centre from -0.5 to 0.5)."""
    cell = np.floor(phase)
    return cell.astype(int), phase - cell - 0.5


def _uniform_per_lamella(number: np.ndarray, columns: int, rng: np.random.Generator) -> Float[np.ndarray, "n columns"]:
    """Uniform random numbers of each lamella, equal at all of its pixels."""
    return np.asarray(rng.uniform(size=(_TABLE, columns))[number % _TABLE])


def _distance_to_end(v: np.ndarray, length: np.ndarray, shift: np.ndarray) -> np.ndarray:
    along = np.mod(v + shift * length, length)
    return np.asarray(np.minimum(along, length - along))


def _junctions(low: float, high: float, config: HerringboneConfig, rng: np.random.Generator) -> Float[np.ndarray, " m"]:
    """Positions of junction lines from below `low` to above `high`."""
    count = int((high - low) / config.band_min_m) + 3
    return low - config.band_max_m * rng.uniform() + np.cumsum(rng.uniform(config.band_min_m, config.band_max_m, count))
