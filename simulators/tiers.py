"""The worlds of the benchmarks: graded tiers, one in which abstaining is right, and worlds without distinguishable types.

*Clean* and *easy* differ in noise, in disorder, and in how much the dimensions of the patterns differ; *medium* is closer to real
scans. In *hard* the types exist, but not even a classifier trained on the truth can tell them apart. The difficulty of a tier is
measured by the score of such a classifier: docs/decisions/0019-tiers.md.

*clean-interspersed* and *easy-interspersed* mix the kinds in cells within superdomains instead of one kind in each. In
*segmented*, an easy world, kinds and polarisation change every 100 to 400 nm, so that a wall is seldom of one type along its
length: two points 8 to 16 pixels apart along a wall are of one type in 66 % (in easy 90 %, in easy-interspersed 77 %). *shuffled*
has the amplitudes of easy without a pattern; *loops-alike* is easy with loops that do not depend on the type.

In a world of a single type every wall has the same `WallType`. All c domains point upwards, since otherwise there would be 180°
walls and two types of needles; and there is one superdomain, since superdomain boundaries are a type of their own. The variants
with "-turned" have several superdomains of one kind, some turned by 90°; a few per cent of their walls are boundaries.
"""

from collections.abc import Mapping

from simulators.config import MFP3DConfig
from simulators.errors import UnknownTierError
from simulators.physics.dart import DartConfig
from simulators.physics.hysteresis import LoopConfig
from simulators.physics.motion import MotionConfig
from simulators.physics.spectroscopy import SpectroscopyConfig
from simulators.physics.wear import WearConfig
from simulators.sample.domains import SuperdomainKind
from simulators.sample.lamellae import HerringboneConfig, NeedleConfig, StripeConfig
from simulators.sample.surface import SurfaceConfig
from simulators.settings import Settings

GRADED = ("clean", "easy", "medium")
HARD = "hard"
INTERSPERSED = ("clean-interspersed", "easy-interspersed")
SHUFFLED = "shuffled"
LOOPS_ALIKE = "loops-alike"
SEGMENTED = "segmented"
SINGLE_TYPE = ("needles", "stripes", "herringbone")
TURNED = "-turned"
_LARGER_THAN_ANY_SURFACE_M = 1e-3  # side of a superdomain that leaves the surface undivided
_LARGE_SUPERDOMAIN_M = 1.5e-6
_CELL_M = 300e-9
_SEGMENT_M = 200e-9


class Tier(Settings):
    """Settings of a sample and its measurement; the defaults are the easy tier."""

    surface: SurfaceConfig = SurfaceConfig()
    dart: DartConfig = DartConfig()
    spectroscopy: SpectroscopyConfig = SpectroscopyConfig()
    motion: MotionConfig = MotionConfig()


_CLEAN = Tier(
    surface=SurfaceConfig(
        stripes=StripeConfig(period_m=260e-9),
        needles=NeedleConfig(spacing_m=200e-9),
        herringbone=HerringboneConfig(period_m=90e-9, band_min_m=120e-9, band_max_m=180e-9),
        disorder=0.15,
        a_buckling=0.0,
        contrast_spread=0.05,
        gain_spread=0.05,
        texture=0.02,
    ),
    dart=DartConfig(
        tip_m=10e-9, background=0.4, background_deg=0.0, amplitude_noise_m=6e-12, gain_noise=0.01, line_gain_noise=0.005
    ),
    motion=MotionConfig(drift_m_per_min=0.2e-9, creep_m=1e-9),
)
_MEDIUM = Tier(
    surface=SurfaceConfig(
        stripes=StripeConfig(period_m=230e-9, period_spread=0.15),
        needles=NeedleConfig(spacing_m=140e-9),
        herringbone=HerringboneConfig(period_m=95e-9, fill=0.46),
        sparse_share=0.13,
        disorder=0.4,
        c_minus_share=0.35,
        c_minus_bubbles=0.2,
        c_minus_response=0.5,
        a_response=0.2,
        a_buckling=0.1,
        contrast_spread=0.2,
        gain_spread=0.3,
        texture=0.1,
        wall_shading=0.15,
        fine_texture=0.12,
        bright_spots=0.2,
        nested_depth=0.06,
        relief_m=8e-9,
        written_boxes=0.3,
    ),
    dart=DartConfig(
        tip_m=14e-9,
        phase_offset_deg=-10.0,
        background=0.2,
        background_deg=30.0,
        sensitivity_m_per_V=8.5e-12,
        amplitude_noise_m=11e-12,
        gain_noise=0.05,
        line_gain_noise=0.03,
        background_noise=0.055,
        streaks=0.06,
        noise_spread=0.5,
        tracker_gain_Hz=2000.0,
        line_frequency_noise_Hz=2.2e3,
        pixel_frequency_noise_Hz=100.0,
        wear=WearConfig(
            gain_steps=1.2, bands=0.5, tip_changes=0.5, blunting_min=0.8, blunting_max=1.25, worn=True, lock_losses=0.1
        ),
    ),
    motion=MotionConfig(creep_m=4e-9),
    spectroscopy=SpectroscopyConfig(failure_rate=0.33),
)
_HARD = Tier(
    surface=SurfaceConfig(
        superdomain_m=0.5e-6,
        stripes=StripeConfig(period_m=110e-9, period_spread=0.3, length_m=350e-9),
        needles=NeedleConfig(spacing_m=110e-9, length_m=180e-9),
        herringbone=HerringboneConfig(period_m=110e-9, period_spread=0.3, fill=0.42),
        disorder=0.9,
        c_minus_share=0.3,
        c_minus_length_m=60e-9,
        c_minus_bubbles=0.5,
        c_minus_kinds=tuple(SuperdomainKind),
        a_response=0.5,
        a_buckling=0.2,
        contrast_spread=0.2,
        gain_spread=0.35,
        texture=0.25,
        boundary_response=0.8,
    ),
    dart=DartConfig(
        tip_m=32e-9, background=0.05, background_deg=40.0, amplitude_noise_m=100e-12, gain_noise=0.08, line_gain_noise=0.06
    ),
    spectroscopy=SpectroscopyConfig(loop=LoopConfig(eta2=0.15)),
    motion=MotionConfig(drift_m_per_min=6e-9, creep_m=8e-9, jitter_m=1e-9),
)


def _interspersed(world: Tier) -> Tier:
    return world.model_copy(update={"surface": world.surface.model_copy(update={"interspersed_m": _CELL_M})})


def _segmented(world: Tier) -> Tier:
    changes = {"interspersed_m": _SEGMENT_M, "c_minus_length_m": 0.6 * _SEGMENT_M, "c_minus_share": 0.5}
    return world.model_copy(update={"surface": world.surface.model_copy(update=changes)})


def _single_kind(kind: str, superdomain_m: float) -> Tier:
    surface = SurfaceConfig(
        superdomain_m=superdomain_m,
        c_minus_share=0.0,
        needle_share=float(kind == "needles"),
        stripe_share=float(kind == "stripes"),
        herringbone_share=float(kind == "herringbone"),
    )
    return Tier(surface=surface)


TIERS: Mapping[str, Tier] = (
    {"clean": _CLEAN, "easy": Tier(), "medium": _MEDIUM, HARD: _HARD}
    | dict(zip(INTERSPERSED, (_interspersed(_CLEAN), _interspersed(Tier())), strict=True))
    | {kind: _single_kind(kind, _LARGER_THAN_ANY_SURFACE_M) for kind in SINGLE_TYPE}
    | {kind + TURNED: _single_kind(kind, _LARGE_SUPERDOMAIN_M) for kind in SINGLE_TYPE}
    | {SEGMENTED: _segmented(Tier())}
    | {SHUFFLED: Tier(surface=SurfaceConfig(shuffled=True))}
    | {LOOPS_ALIKE: Tier(spectroscopy=SpectroscopyConfig(loop=LoopConfig(eta2=0.0)))}
)


def tier(name: str, seed: int) -> MFP3DConfig:
    """Configuration of an instrument with world `seed` of a tier as its sample.

    Parameters
    ----------
    name
        Name of the tier, one of `TIERS`.
    seed
        Seed of the sample and all noise. 0-99 are for development, held-out worlds begin at 100.

    Raises
    ------
    UnknownTierError
        If there is no such tier.
    """
    if name not in TIERS:
        raise UnknownTierError(f"there is no tier {name!r}; give one of {', '.join(TIERS)}")
    chosen = TIERS[name]
    return MFP3DConfig(
        seed=seed, surface=chosen.surface, dart=chosen.dart, spectroscopy=chosen.spectroscopy, motion=chosen.motion
    )
