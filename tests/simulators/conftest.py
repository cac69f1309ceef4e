import numpy as np
import pytest

from simulators.sample.growth import grow_surface
from simulators.sample.surface import Surface, SurfaceConfig

SMALL = SurfaceConfig(size_m=1.5e-6, pixels=384, superdomain_m=0.5e-6)


@pytest.fixture(scope="session")
def small_surface() -> Surface:
    """Half the default's side, all kinds of superdomain, at the default's place on the stage."""
    return grow_surface(SMALL, np.random.default_rng(0))
