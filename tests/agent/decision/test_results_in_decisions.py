"""What measured results do to a decision, with searches that need no training."""

import numpy as np
import pytest

from agent.config.model import Config
from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs
from agent.schema.decision import Decision
from agent.schema.measurements import MeasuredOnSample, Result
from agent.workers.factory import workers_for
from instrument_adapters.protocol.messages import Limits
from tests.agent.search.test_search import scan_of
from tests.support.data.images import two_textures

CONFIG = Config.model_validate(
    {
        "search": {"families": ["pca"], "windows_px": [5, 7], "seeds": 2, "workers": 0, "plain_latent_dim": 3},
        "reward_options": {"restarts": 2, "components": [1, 2, 3]},
        "evidence": {"near_px": 2.0},
    }
)
ELSEWHERE = np.array([[-500.0, 0.0]])  # outside the frame
BETWEEN = np.array([0.0, 2.5])  # key points are 5 px apart
SCAN = scan_of(two_textures(96), angle_rad=0.3)


def decided(results: MeasuredOnSample | None = None, **evidence: float) -> Decision:
    config = CONFIG.model_copy(update={"evidence": CONFIG.evidence.model_copy(update=evidence)})
    with workers_for(0) as workers:
        agent = Agent(config, workers)
        return (
            agent.decide(DecisionInputs(SCAN))
            if results is None
            else agent.decide(DecisionInputs(SCAN, limits=Limits(), results=results))
        )


def measured_at(points_rc: np.ndarray, width_v: float = 1.0) -> MeasuredOnSample:
    xy = SCAN.frame.to_metres(points_rc.astype(float))
    return MeasuredOnSample.of([Result("ok", (float(x), float(y)), {"width_V": width_v + i}) for i, (x, y) in enumerate(xy)])


@pytest.fixture(scope="module")
def without() -> Decision:
    return decided()


@pytest.mark.slow
def test_only_results_that_bear_on_the_scan_change_a_decisions_name(without: Decision) -> None:
    points = without.arrays["points_rc"][:6]
    far = measured_at(np.concatenate([ELSEWHERE, points[:1] + BETWEEN]))
    names = {without.record.decision_id}
    assert decided(far).record.decision_id in names
    for results in (measured_at(points), measured_at(points, 2.0), measured_at(points[::-1])):
        names.add(decided(results).record.decision_id)
    assert len(names) == 4
    assert decided(measured_at(points)).record.decision_id in names
    # How results are weighed matters where there are some only.
    assert decided(fewest_results=5).record.decision_id in names
    assert decided(measured_at(points), fewest_results=5).record.decision_id not in names


def test_the_record_says_how_many_results_could_be_used_and_why_others_could_not(without: Decision) -> None:
    assert (without.record.results_used, without.record.results_left_out) == (0, {})
    points = without.arrays["points_rc"][:6]
    record = decided(measured_at(np.concatenate([points, ELSEWHERE, points[:1] + BETWEEN]))).record
    assert record.results_used == 6
    assert record.results_left_out == {"outside_frame": 1, "far_from_key_points": 1}
    assert type(record).model_validate_json(record.model_dump_json()) == record


def test_records_from_before_there_was_evidence_are_still_read(without: Decision) -> None:
    new = {"results_used", "results_left_out", "evidence_weight"}
    record = type(without.record).model_validate(without.record.model_dump(mode="json", exclude=new))
    assert record == without.record
