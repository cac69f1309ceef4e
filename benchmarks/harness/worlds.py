"""One scan of a simulated world as the agent sees it, and the sealed truth of its key points."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from agent.config.model import Config
from agent.search.prepared_scan import PreparedScan, prepare_scan
from benchmarks.harness.agreement import adjusted_rand, agreement
from instrument_adapters.scan import Scan
from simulators.clock import SimulatedClock
from simulators.mfp3d import SimulatedMFP3D
from simulators.physics.dart import DartRecording
from simulators.sample.domains import coarse
from simulators.sample.surface import Surface
from simulators.tiers import tier

WINDOW_PX = 13  # window of the supervised classifier, and in which a patch counts as pure
_PURE_SHARE = 0.95


@dataclass(frozen=True, eq=False)
class World:
    """A scan, its preparation by the agent, and the truth at the true positions of the tip."""

    scan: Scan
    prepared: PreparedScan
    surface: Surface
    recording: DartRecording

    @property
    def points_rc(self) -> Int[np.ndarray, "n 2"]:
        """Key points of the search, (row, col) in pixels."""
        (keypoints,) = self.prepared.keypoints.values()
        return keypoints.points_rc

    def types(self, points_rc: Int[np.ndarray, "n 2"]) -> Int[np.ndarray, " n"]:
        """`WallType` of the wall nearest to the true position of the tip at each pixel."""
        return self.surface.truth_at(self._true_xy(points_rc)).wall.astype(int)

    def pure(self, points_rc: Int[np.ndarray, "n 2"]) -> Bool[np.ndarray, " n"]:
        """Whether at least 95 % of the wall in a window of 13 px around each pixel is of one type."""
        window_m = WINDOW_PX * self.scan.frame.pitch_m[1]
        return np.asarray(self.surface.composition_at(self._true_xy(points_rc), window_m).max(axis=1) >= _PURE_SHARE)

    def agreement(self, points_rc: Int[np.ndarray, "n 2"], labels: Int[np.ndarray, " n"]) -> dict[str, float]:
        """Agreement of clusters with the true types: all patches, pure ones (`ari_pure`), and coarse types (`ari_coarse`)."""
        truth, pure = self.types(points_rc), self.pure(points_rc)
        return agreement(labels, truth) | {
            "ari_pure": adjusted_rand(labels[pure], truth[pure]),
            "ari_coarse": adjusted_rand(labels, coarse(truth)),
        }

    def _true_xy(self, points_rc: np.ndarray) -> np.ndarray:
        return np.asarray(self.recording.true_xy_m[tuple(points_rc.T)])


def scan_world(name: str, seed: int, config: Config) -> World:
    """The first scan of world `seed` of the tier `name`, prepared with `config`."""
    instrument = SimulatedMFP3D(tier(name, seed), clock=SimulatedClock(None))
    scan = instrument.scan()
    assert instrument.last_recording is not None
    return World(scan, prepare_scan(scan, config), instrument.surface, instrument.last_recording)
