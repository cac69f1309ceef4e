"""Points at the instrument: checked by its clock and its bias before, and against its limits afterwards."""

import threading
from datetime import timedelta

import numpy as np
import pytest

from instrument_adapters.client.worker import MeasurementWorker
from instrument_adapters.instrument import Measurement
from instrument_adapters.protocol.messages import Limits
from instrument_adapters.spool.command_state import CommandState
from instrument_adapters.spool.spool import HeldError, Spool
from tests.instrument_adapters.conftest import NOW, FakeAgent, HaltingInstrument


@pytest.fixture
def afm():
    return HaltingInstrument()


def worker_for(afm, spool=None, now=None, monotonic=lambda: 0.0):
    return MeasurementWorker(afm, spool or Spool(None), threading.Event(), lambda: NOW, now or afm.now, monotonic)


def plan_for(scan_id, points=((1e-6, 1e-6), (2e-6, 2e-6)), **fields):
    fake = FakeAgent.__new__(FakeAgent)
    fake.points, fake._numbers, fake.seq = (lambda _: list(points)), {}, 0
    return FakeAgent.recommendation(fake, scan_id).model_copy(update=fields)


def measured(worker, plan, number=0):
    return worker.measure_point(plan.requests[number], plan).message


def test_a_recommendation_expires_by_the_instruments_clock(afm):
    worker = worker_for(afm)
    worker.scan(lambda _: None)
    plan = plan_for("s1", expires_at=NOW + timedelta(minutes=5))
    assert measured(worker, plan).status == "ok"
    afm.time = NOW + timedelta(minutes=6)
    assert (measured(worker, plan, 1).status, afm.measured) == ("skipped", ["s1-p0"])


def test_the_age_of_a_scan_counts_from_its_end_at_the_latest_from_its_return(afm, monkeypatch):
    spool = Spool(None)
    worker = worker_for(afm, spool)
    worker.scan(lambda _: None)
    assert spool.latest.ended_at == NOW
    afm.time = NOW + timedelta(seconds=7201)
    result = measured(worker, plan_for("s1"))
    assert (result.status, result.reason[:24]) == ("skipped", "scan s1 ended 7201 s ago")


@pytest.mark.attack("the instrument's clock is set back a day while points wait", promise="nothing is measured after its expiry")
@pytest.mark.parametrize(
    ("seconds", "left", "sentence"),
    [(301.0, timedelta(minutes=5), "the recommendation expired"), (7201.0, timedelta(days=9), "scan s1 ended 7201 s ago")],
)
def test_a_clock_that_is_set_back_prolongs_neither_a_recommendation_nor_a_scan(afm, seconds, left, sentence):
    elapsed = [0.0]
    worker = worker_for(afm, monotonic=lambda: elapsed[0])
    worker.scan(lambda _: None)
    plan = plan_for("s1", expires_at=NOW + left)
    worker.note_receipt(plan)
    afm.time, elapsed[0] = NOW - timedelta(days=1), seconds - 2
    assert measured(worker, plan).status == "ok"
    elapsed[0] = seconds
    result = measured(worker, plan, 1)
    assert (result.status, afm.measured) == ("skipped", ["s1-p0"])
    assert result.reason.startswith(sentence)


@pytest.mark.attack(
    "an instrument returns a position of 1.7e308 m", promise="the point fails with a sentence; no such number is sent"
)
@pytest.mark.parametrize("x_m", [1.7e308, -2.0, float("nan")])
def test_a_position_that_cannot_be_is_a_failed_point_without_a_position(afm, x_m):
    worker = worker_for(afm)
    worker.scan(lambda _: None)
    returning(afm, x_m=x_m)
    result = measured(worker, plan_for("s1"))
    assert (result.status, result.x_m, result.parameters) == ("failed", None, {})
    assert result.reason.startswith("the point was measured, but its result cannot be sent: x_m")


def test_a_result_is_stamped_by_the_clock_that_dates_its_measurement(afm):
    afm.time = NOW + timedelta(days=30)  # a simulated clock that runs fast
    worker = worker_for(afm)
    worker.scan(lambda _: None)
    returning(afm)
    assert measured(worker, plan_for("s1")).sent_at == afm.time


def test_an_instrument_whose_bias_is_above_what_is_allowed_skips_the_point(afm):
    worker = worker_for(afm)
    worker.scan(lambda _: None)
    assert measured(worker, plan_for("s1", bias_max_V=4.5)).reason.startswith(
        "a measurement applies 5 V, the recommendation allows 4.5 V"
    )
    afm.limits = Limits(bias_max_V=4.0)
    assert measured(worker, plan_for("s1"), 1).reason.startswith("a measurement applies 5 V, the instrument allows 4 V")
    assert afm.measured == []


def returning(afm, x_m=1e-6, y_m=1e-6, bias_V=1.0):
    arrays = {"bias_V": np.array([-bias_V, np.nan, 0.5]), "response": np.zeros(3)}
    afm.measure = lambda request: Measurement(
        x_m=x_m, y_m=y_m, measured_at=NOW, arrays=arrays, parameters={"a_V": 1.0}, remark="r"
    )


def test_a_measurement_with_too_much_bias_fails_but_keeps_its_curves_and_nothing_more_is_measured(afm):
    worker = worker_for(afm)
    worker.scan(lambda _: None)
    returning(afm, bias_V=10.5)
    plan = plan_for("s1")
    broken = worker.measure_point(plan.requests[0], plan)
    assert broken.message.status == "failed"
    assert broken.message.reason == "measured with a bias of 10.5 V, at most 10 V are allowed; check the instrument's settings; r"
    assert (len(broken.frames), broken.message.parameters) == (3, {})
    assert worker.bias_V == 10.5
    assert measured(worker, plan, 1).reason.startswith("a measurement applies 10.5 V")


@pytest.mark.parametrize("values", [[1.0, np.inf, 0.5], [np.nan] * 3])
def test_a_measurement_whose_bias_is_infinite_or_no_number_fails(afm, values):
    worker = worker_for(afm)
    worker.scan(lambda _: None)
    arrays = {"bias_V": np.array(values), "response": np.zeros(3)}
    afm.measure = lambda request: Measurement(x_m=1e-6, y_m=1e-6, measured_at=NOW, arrays=arrays, parameters={"a_V": 1.0})
    plan = plan_for("s1")
    broken = worker.measure_point(plan.requests[0], plan)
    assert (broken.message.status, broken.message.parameters) == ("failed", {})
    assert broken.message.reason.startswith("the recorded bias is infinite or holds no number")


def test_a_measurement_off_its_target_is_kept_with_a_remark(afm):
    worker = worker_for(afm)
    worker.scan(lambda _: None)
    returning(afm, x_m=9e-6)
    assert measured(worker, plan_for("s1")).reason == "r", "within a pixel of 10 um"
    returning(afm, x_m=13e-6, y_m=2e-6)
    result = measured(worker, plan_for("s1"), 1)
    assert (result.status, result.x_m, result.y_m) == ("ok", 13e-6, 2e-6)
    assert result.reason == "r; measured 11000.0 nm from the requested point, more than a pixel (10000.0 nm)"


def test_a_measurement_outside_the_stages_range_fails(afm):
    worker = worker_for(afm)
    worker.scan(lambda _: None)
    returning(afm, y_m=50e-6)
    result = measured(worker, plan_for("s1"))
    assert (result.status, result.y_m) == ("failed", 50e-6)
    assert result.reason.startswith("measured at (1.000, 50.000) um, outside the stage's range; check the stage")


def test_the_instrument_is_not_called_while_paused(afm):
    spool = Spool(None)
    worker = worker_for(afm, spool)
    worker.scan(lambda _: None)
    spool.change_command_state(lambda state: CommandState(**{**state.model_dump(), "state": "paused", "who": "Ada"}))
    plan = plan_for("s1")
    with pytest.raises(HeldError, match="paused by Ada"):
        worker.measure_point(plan.requests[0], plan)
    with pytest.raises(HeldError):
        worker.scan(lambda _: None)
    assert (afm.scans, afm.measured, spool.begun) == (1, [], {})
