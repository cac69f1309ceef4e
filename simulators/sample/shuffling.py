"""A surface with the values and the roughness of a domain pattern, but with the values in random places.

The response is an iteratively adjusted surrogate (Schreiber & Schmitz, Phys. Rev. Lett. 77 (1996) 635, in two dimensions): random
phases, to which the power spectrum and the distribution of values of the original are imposed in turn. The polarisation points
down where the response is negative, so the only walls are 180° walls. Topography and resonance keep their spectra but get random
phases. All periodicity, boundaries and local orientation are lost.
"""

from dataclasses import replace

import numpy as np
from jaxtyping import Float32
from scipy import fft

from simulators.sample.domains import DomainState, SuperdomainKind
from simulators.sample.surface import Surface

_ITERATIONS = 6  # enough for spectrum and distribution to converge


def shuffled(surface: Surface, rng: np.random.Generator) -> Surface:
    """The shuffled surface: one superdomain of one kind, with 180° walls only."""
    response = surrogate(surface.response, rng)
    state = np.where(response < 0, np.int8(DomainState.C_MINUS), np.int8(DomainState.C_PLUS))
    return replace(
        surface,
        state=state.astype(np.int8),
        kind=np.full_like(surface.kind, SuperdomainKind.SPARSE),
        superdomain=np.zeros_like(surface.superdomain),
        response=response,
        height_m=_random_phases(surface.height_m, rng),
        resonance_shift_Hz=_random_phases(surface.resonance_shift_Hz, rng),
    )


def surrogate(image: Float32[np.ndarray, "rows cols"], rng: np.random.Generator) -> Float32[np.ndarray, "rows cols"]:
    """Image with exactly the values and approximately the power spectrum of the original, and random phases."""
    values, magnitude = np.sort(image, axis=None), np.abs(fft.rfft2(image))
    out = _random_phases(image, rng)
    for _ in range(_ITERATIONS):
        spectrum = fft.rfft2(_ranked(out, values))
        out = fft.irfft2(magnitude * np.exp(1j * np.angle(spectrum)), s=image.shape)
    return _ranked(out, values)


def _random_phases(image: np.ndarray, rng: np.random.Generator) -> Float32[np.ndarray, "rows cols"]:
    """Image with the power spectrum and the mean of the original, and the phases of white noise."""
    phases = np.angle(fft.rfft2(rng.standard_normal(image.shape, dtype=np.float32)))
    phases[0, 0] = 0.0 if image.mean() >= 0 else np.pi
    return np.asarray(fft.irfft2(np.abs(fft.rfft2(image)) * np.exp(1j * phases), s=image.shape), np.float32)


def _ranked(image: np.ndarray, values: np.ndarray) -> Float32[np.ndarray, "rows cols"]:
    """Image with the ascending `values` in the rank order of the original."""
    out = np.empty(image.size, np.float32)
    out[np.argsort(image, axis=None)] = values
    return out.reshape(image.shape)
