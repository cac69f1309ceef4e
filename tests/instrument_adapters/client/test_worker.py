"""What is done at the instrument with a point: checked by its own clock and bias, and judged by what came of it."""

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


def bench_of(afm, spool=None, now=None):
    return MeasurementWorker(afm, spool or Spool(None), threading.Event(), lambda: NOW, now or afm.now)


def plan_for(scan_id, points=((1e-6, 1e-6), (2e-6, 2e-6)), **fields):
    fake = FakeAgent.__new__(FakeAgent)
    fake.points, fake._numbers, fake.seq = (lambda _: list(points)), {}, 0
    return FakeAgent.recommendation(fake, scan_id).model_copy(update=fields)


def one(bench, plan, number=0):
    return bench.carry_out(plan.requests[number], plan).message


def test_a_recommendation_expires_by_the_instruments_clock(afm):
    bench = bench_of(afm)
    bench.scan(lambda _: None)
    plan = plan_for("s1", expires_at=NOW + timedelta(minutes=5))
    assert one(bench, plan).status == "ok"
    afm.time = NOW + timedelta(minutes=6)
    assert (one(bench, plan, 1).status, afm.measured) == ("skipped", ["s1-p0"])


def test_a_scan_grows_old_from_when_it_ended_and_not_later_than_it_was_handed_over(afm, monkeypatch):
    spool = Spool(None)
    bench = bench_of(afm, spool)
    bench.scan(lambda _: None)
    assert spool.latest.ended_at == NOW
    afm.time = NOW + timedelta(seconds=7201)
    result = one(bench, plan_for("s1"))
    assert (result.status, result.reason[:24]) == ("skipped", "scan s1 ended 7201 s ago")


def test_an_instrument_whose_bias_is_above_what_is_allowed_skips_the_point(afm):
    bench = bench_of(afm)
    bench.scan(lambda _: None)
    assert one(bench, plan_for("s1", bias_max_V=4.5)).reason.startswith(
        "a measurement applies 5 V, the recommendation allows 4.5 V"
    )
    afm.limits = Limits(bias_max_V=4.0)
    assert one(bench, plan_for("s1"), 1).reason.startswith("a measurement applies 5 V, the instrument allows 4 V")
    assert afm.measured == []


def returning(afm, x_m=1e-6, y_m=1e-6, bias_V=1.0):
    arrays = {"bias_V": np.array([-bias_V, np.nan, 0.5]), "response": np.zeros(3)}
    afm.measure = lambda request: Measurement(
        x_m=x_m, y_m=y_m, measured_at=NOW, arrays=arrays, parameters={"a_V": 1.0}, remark="r"
    )


def test_a_measurement_with_too_much_bias_fails_keeps_its_curves_and_is_the_last(afm):
    bench = bench_of(afm)
    bench.scan(lambda _: None)
    returning(afm, bias_V=10.5)
    plan = plan_for("s1")
    broken = bench.carry_out(plan.requests[0], plan)
    assert broken.message.status == "failed"
    assert broken.message.reason == "measured with a bias of 10.5 V, 10 V are allowed; see to the instrument's settings; r"
    assert (len(broken.frames), broken.message.parameters) == (3, {})
    assert bench.bias_V == 10.5
    assert one(bench, plan, 1).reason.startswith("a measurement applies 10.5 V")


def test_a_measurement_beside_its_place_is_true_where_it_was_made_and_says_so(afm):
    bench = bench_of(afm)
    bench.scan(lambda _: None)
    returning(afm, x_m=9e-6)
    assert one(bench, plan_for("s1")).reason == "r", "within a pixel of 10 um"
    returning(afm, x_m=13e-6, y_m=2e-6)
    result = one(bench, plan_for("s1"), 1)
    assert (result.status, result.x_m, result.y_m) == ("ok", 13e-6, 2e-6)
    assert result.reason == "r; measured 11000.0 nm from the point that was asked for, a pixel is 10000.0 nm"


def test_a_measurement_outside_the_stages_range_fails(afm):
    bench = bench_of(afm)
    bench.scan(lambda _: None)
    returning(afm, y_m=50e-6)
    result = one(bench, plan_for("s1"))
    assert (result.status, result.y_m) == ("failed", 50e-6)
    assert result.reason.startswith("measured at (1.000, 50.000) um, outside the stage's range; see to the stage")


def test_while_paused_nothing_is_handed_to_the_instrument(afm):
    spool = Spool(None)
    bench = bench_of(afm, spool)
    bench.scan(lambda _: None)
    spool.stand(lambda standing: CommandState(**{**standing.model_dump(), "state": "paused", "who": "Ada"}))
    plan = plan_for("s1")
    with pytest.raises(HeldError, match="paused by Ada"):
        bench.carry_out(plan.requests[0], plan)
    with pytest.raises(HeldError):
        bench.scan(lambda _: None)
    assert (afm.scans, afm.measured, spool.begun) == (1, [], {})
