"""Grows a surface: superdomains, their lamellae, 180° domains."""

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Int8
from scipy import ndimage

from simulators.sample.domains import DomainState, SuperdomainKind
from simulators.sample.fields import smooth_field
from simulators.sample.lamellae import Disorder, Lamellae, herringbone, needles, stripes
from simulators.sample.response import Pattern, height, relief, resonance_shift, response
from simulators.sample.shuffling import shuffled
from simulators.sample.superdomains import Partition, assign_kinds, cells, divide
from simulators.sample.surface import Surface, SurfaceConfig

_WARP_M = 35e-9
_WOBBLE_M = 10e-9  # displacement of the crystal's planes at full disorder
_WOBBLE_LENGTH_M = 260e-9
_FILL_LENGTH_M = 220e-9
_PHASE_LENGTH_M = 420e-9
_BUBBLE_LENGTH_M = 55e-9
_C_STRETCH = 1.6  # 180° domains are elongated along the crystal's tilt
_C_SMALLEST_M = 9e-9
_TILT_SPREAD_RAD = math.radians(2.0)


def grow_surface(config: SurfaceConfig, rng: np.random.Generator) -> Surface:
    """Grow a new PbTiO3-like surface.

    Parameters
    ----------
    config
        Size, patterns and disorder of the surface.
    rng
        Random generator; the same state gives the same surface, bit for bit.
    """
    tilt = float(rng.uniform(0, np.pi / 2))
    count = max(1, round((config.size_m / config.superdomain_m) ** 2))
    partition = divide(rng, config.pixels, config.pitch_m, count, _WARP_M)
    kind = _kind_map(config, partition, rng)
    pattern = _grow_lamellae(config, partition, kind, tilt, rng)
    c_minus = _c_minus_mask(config, kind, tilt, rng) ^ _written_boxes(config, rng)
    out_of_plane = np.where(c_minus, np.int8(DomainState.C_MINUS), np.int8(DomainState.C_PLUS))
    state = np.where(pattern.in_plane, np.int8(DomainState.A_FIRST) + pattern.family, out_of_plane).astype(np.int8)
    grown = Surface(
        config=config,
        state=state,
        kind=kind,
        superdomain=partition.index,
        response=response(config, partition, pattern, c_minus, tilt, rng),
        height_m=height(config, partition, pattern, rng),
        resonance_shift_Hz=resonance_shift(config, partition, pattern, rng),
    )
    if config.shuffled:
        return shuffled(grown, rng)
    return replace(grown, height_m=grown.height_m + relief(config, rng)) if config.relief_m else grown


def _kind_map(config: SurfaceConfig, partition: Partition, rng: np.random.Generator) -> Int8[np.ndarray, "rows cols"]:
    """`SuperdomainKind` of each pixel: one per superdomain, or one per cell if the kinds are interspersed."""
    index, count = partition.index, partition.count
    if config.interspersed_m > 0:
        # Drawn from a separate generator, so that superdomains and fields are the same as without cells.
        index, count = cells(rng.spawn(1)[0], config.pixels, config.pitch_m, config.interspersed_m)
    kinds = assign_kinds(index, count, config.shares)
    return np.asarray(np.array([kinds[n] for n in range(count)], np.int8)[index])


def _grow_lamellae(
    config: SurfaceConfig, partition: Partition, kind: np.ndarray, tilt: float, rng: np.random.Generator
) -> Pattern:
    """Pattern of the a domains. Each kind is grown over the whole superdomain, so its lamellae continue from cell to cell."""
    side, pitch = config.pixels, config.pitch_m
    wobble = [_WOBBLE_M * config.disorder * smooth_field(rng, side, _WOBBLE_LENGTH_M / pitch) for _ in range(2)]
    fill, phase = (smooth_field(rng, side, length / pitch) for length in (_FILL_LENGTH_M, _PHASE_LENGTH_M))
    in_plane, even = np.zeros((side, side), bool), np.zeros((side, side), bool)
    family = np.zeros((side, side), np.int8)
    for number in range(partition.count):
        rows, cols = np.nonzero(partition.index == number)
        angle = tilt + rng.normal(0, _TILT_SPREAD_RAD)
        turned = bool(rng.integers(2))
        if not len(rows):
            continue
        c, s = math.cos(angle), math.sin(angle)
        u = c * cols * pitch + s * rows * pitch + wobble[0][rows, cols]
        v = c * rows * pitch - s * cols * pitch + wobble[1][rows, cols]
        if turned:
            u, v = v, -u
        disorder = Disorder(config.disorder, phase[rows, cols], fill[rows, cols])
        for present in np.unique(kind[rows, cols]):
            lamellae = _grow_kind(config, SuperdomainKind(present), u, v, disorder, rng)
            here = kind[rows, cols] == present
            at = rows[here], cols[here]
            in_plane[at], even[at] = lamellae.in_plane[here], lamellae.number[here] % 2 == 0
            family[at] = lamellae.family[here] ^ turned
    return Pattern(in_plane, family, even)


def _grow_kind(
    config: SurfaceConfig, kind: SuperdomainKind, u: np.ndarray, v: np.ndarray, disorder: Disorder, rng: np.random.Generator
) -> Lamellae:
    if kind is SuperdomainKind.STRIPES:
        return stripes(u, v, disorder, config.stripes, rng)
    if kind is SuperdomainKind.HERRINGBONE:
        return herringbone(u, v, disorder, config.herringbone, rng)
    return needles(u, v, config.needles, rng, sparse=kind is SuperdomainKind.SPARSE)


def _c_minus_mask(config: SurfaceConfig, kind: np.ndarray, tilt: float, rng: np.random.Generator) -> np.ndarray:
    """Mask of downward polarisation: a thresholded random field, restricted to `c_minus_kinds`."""
    pitch = config.pitch_m
    field = smooth_field(rng, config.pixels, config.c_minus_length_m / pitch, stretch=_C_STRETCH, angle_rad=tilt)
    field += config.c_minus_bubbles * smooth_field(rng, config.pixels, _BUBBLE_LENGTH_M / pitch)
    allowed = np.isin(kind, config.c_minus_kinds)
    if not allowed.any() or config.c_minus_share == 0:
        return np.zeros(kind.shape, bool)
    down = (field <= np.quantile(field[allowed], config.c_minus_share)) & allowed
    opened = ndimage.binary_opening(down, iterations=max(1, round(_C_SMALLEST_M / pitch)))
    return np.asarray(opened, bool)


def _written_boxes(config: SurfaceConfig, rng: np.random.Generator) -> np.ndarray:
    """Mask of the rectangles, along the axes of the stage, in which an earlier experiment reversed the polarisation."""
    inside = np.zeros((config.pixels, config.pixels), bool)
    if config.written_boxes:
        for _ in range(rng.poisson(config.written_boxes)):
            height, width = (rng.uniform(0.5, 1.5, 2) * config.written_box_m / config.pitch_m).astype(int)
            row, col = (int(rng.integers(-size // 2, config.pixels - size // 2)) for size in (height, width))
            inside[max(row, 0) : row + height, max(col, 0) : col + width] = True
    return inside
