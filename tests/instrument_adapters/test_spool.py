import json
from datetime import UTC, datetime

import numpy as np
import pytest

from instrument_adapters import codec
from instrument_adapters.journal import SpoolError
from instrument_adapters.messages import MeasurementRequest, RecommendationMessage, ResultMessage
from instrument_adapters.spool import Outgoing, Spool

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def result(request_id="p0"):
    arrays = {"bias_V": np.arange(3.0), "response": np.ones(3)}
    message = ResultMessage(
        id=f"result-{request_id}",
        sent_at=NOW,
        arrays=codec.specs(arrays),
        request_id=request_id,
        status="ok",
        x_m=0.0,
        y_m=0.0,
        measured_at=NOW,
    )
    return Outgoing(message, codec.encode(codec.Packet(message, arrays)))


def recommendation(name="r1", requests=("p0", "p1")):
    return RecommendationMessage(
        id=name,
        sent_at=NOW,
        seq=1,
        decision_id="d1",
        scan_id="s1",
        requests=tuple(
            MeasurementRequest(request_id=r, x_m=0.0, y_m=0.0, row=0, col=0, cluster=0, rank=0, core_distance=0.0)
            for r in requests
        ),
        reason="",
    )


def test_what_was_not_answered_comes_back_with_its_arrays(tmp_path):
    with Spool(tmp_path) as spool:
        spool.send(result("p0"))
        spool.send(result("p1"))
        spool.answered("result-p0", run_id="run-1", refused=False)
    with Spool(tmp_path) as spool:
        assert list(spool.waiting) == ["result-p1"]
        assert list(spool.waiting["result-p1"].frames) == result("p1").frames
        assert spool.last_written is not None
    assert len(list(tmp_path.glob("*.raw"))) == 1


def test_a_recommendation_stays_until_each_of_its_requests_has_a_result(tmp_path):
    with Spool(tmp_path) as spool:
        spool.accept(recommendation())
        spool.send(result("p0"))
    with Spool(tmp_path) as spool:
        assert spool.unfinished == {"p1": "r1"}
        assert [r.request_id for r in spool.plans["r1"].requests] == ["p1"]
        spool.send(result("p1"))
    with Spool(tmp_path) as spool:
        assert (spool.plans, spool.accepted) == ({}, {"r1"})


def test_a_request_that_comes_in_two_recommendations_is_done_once(tmp_path):
    with Spool(tmp_path) as spool:
        spool.accept(recommendation("r1", ("p0",)))
        assert [r.request_id for r in spool.accept(recommendation("r2", ("p0", "p1"))).requests] == ["p1"]


@pytest.mark.parametrize("torn", [b'{"event": "begun", "id"', b"\x00\x00\x00\x00", b"\x00\x00\n"], ids=["half", "zeros", "line"])
def test_a_torn_last_line_is_dropped_and_the_next_one_does_not_continue_it(tmp_path, torn):
    with Spool(tmp_path) as spool:
        spool.send(result("p0"))
    with (tmp_path / "journal.jsonl").open("ab") as file:
        file.write(torn)
    with Spool(tmp_path) as spool:
        spool.send(result("p1"))
    with Spool(tmp_path) as spool:
        assert list(spool.waiting) == ["result-p0", "result-p1"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{{{", "Expecting property name"),
        (b'{"event": "dance"}', "does not know the entry 'dance'"),
        (b'{"event": "begun"}', "it lacks 'scan'"),
        (b'{"event": "sent", "header": "{}", "file": null, "lengths": []}', "message: Unable to extract tag"),
        (b"[]", "indices"),
    ],
    ids=["not JSON", "unknown", "incomplete", "no message", "no object"],
)
def test_a_damaged_line_is_named_and_nothing_is_guessed(tmp_path, line, reason):
    with Spool(tmp_path) as spool:
        spool.send(result("p0"))
    journal = tmp_path / "journal.jsonl"
    first, second = journal.read_bytes().splitlines()
    journal.write_bytes(b"\n".join([first, line, second, b""]))
    with pytest.raises(SpoolError, match=f"line 2 of .*{reason}.*move that directory away"):
        Spool(tmp_path)


def test_the_journal_of_another_version_is_left_alone(tmp_path):
    (tmp_path / "journal.jsonl").write_bytes(b'{"event": "spool", "version": 2}\n')
    with pytest.raises(SpoolError, match=r"line 1 of .*'version': 1"):
        Spool(tmp_path)
    assert (tmp_path / "journal.jsonl").read_bytes() == b'{"event": "spool", "version": 2}\n'


@pytest.mark.parametrize("damage", [lambda f: f.unlink(), lambda f: f.write_bytes(b"short")], ids=["gone", "short"])
def test_arrays_that_are_gone_are_named(tmp_path, damage):
    with Spool(tmp_path) as spool:
        spool.send(result("p0"))
    damage(tmp_path / "00000000.raw")
    with pytest.raises(SpoolError, match=r"00000000\.raw .*move that directory away"):
        Spool(tmp_path)


def test_a_spool_can_be_opened_again_after_it_was_refused(tmp_path):
    with Spool(tmp_path), pytest.raises(SpoolError, match="another client uses the spool"):
        Spool(tmp_path)
    with Spool(tmp_path):
        pass


def test_a_spool_without_a_directory_remembers_as_long_as_it_lives():
    with Spool(None) as spool:
        spool.send(result("p0"))
        spool.accept(recommendation())
        assert (list(spool.waiting), list(spool.plans)) == (["result-p0"], ["r1"])


DAMAGED = {
    "nested deeply": b"[" * 100_000,
    "a header that is no text": b'{"event": "sent", "header": 3, "file": null, "lengths": []}',
    "a file elsewhere": b'{"event": "sent", "header": %s, "file": "../../etc/passwd", "lengths": [3]}',
    "a file that is no name": b'{"event": "sent", "header": %s, "file": [], "lengths": [3]}',
    "a length that is no number": b'{"event": "sent", "header": %s, "file": "00000000.raw", "lengths": ["3"]}',
    "a length of a petabyte": b'{"event": "sent", "header": %s, "file": "00000000.raw", "lengths": [1000000000000000]}',
    "lengths that are none": b'{"event": "sent", "header": %s, "file": "00000000.raw", "lengths": 3}',
    "a length below nothing": b'{"event": "sent", "header": %s, "file": "00000000.raw", "lengths": [-3]}',
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_entry_is_one_sentence_whatever_it_holds(tmp_path, name):
    with Spool(tmp_path) as spool:
        spool.send(result("p0"))
    header = json.dumps(result("p0").frames[0].decode()).encode()
    lines = (tmp_path / "journal.jsonl").read_bytes().splitlines()[:1]
    damaged = DAMAGED[name].replace(b"%s", header)
    (tmp_path / "journal.jsonl").write_bytes(b"\n".join([*lines, damaged, b'{"event": "begun"}', b""]))
    with pytest.raises(SpoolError, match="move that directory away"):
        Spool(tmp_path)
