import errno
import json
import os
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from instrument_adapters.client.worker import MeasurementWorker
from instrument_adapters.errors import AdapterError
from instrument_adapters.geometry import Frame
from instrument_adapters.protocol import codec
from instrument_adapters.protocol.messages import (
    ChannelSpec,
    MeasurementRequest,
    RecommendationMessage,
    ResultMessage,
    ScanMessage,
)
from instrument_adapters.spool import spool as spools
from instrument_adapters.spool.journal import SpoolError
from instrument_adapters.spool.spool import Outgoing, Spool

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
        spool.record_answer("result-p0", run_id="run-1", refused=False)
    with Spool(tmp_path) as spool:
        assert list(spool.unanswered) == ["result-p1"]
        assert list(spool.unanswered["result-p1"].frames) == result("p1").frames
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
        assert list(spool.unanswered) == ["result-p0", "result-p1"]


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
def test_a_damaged_line_is_refused_by_its_number(tmp_path, line, reason):
    with Spool(tmp_path) as spool:
        spool.send(result("p0"))
    journal = tmp_path / "journal.jsonl"
    first, second = journal.read_bytes().splitlines()
    journal.write_bytes(b"\n".join([first, line, second, b""]))
    with pytest.raises(SpoolError, match=f"line 2 of .*{reason}.*move that directory away"):
        Spool(tmp_path)


def test_the_journal_of_another_version_is_left_alone(tmp_path):
    (tmp_path / "journal.jsonl").write_bytes(b'{"event": "spool", "version": 3}\n')
    with pytest.raises(SpoolError, match=r"line 1 of .*'version': 3.* is not the header of a spool of version 1 or 2"):
        Spool(tmp_path)
    assert (tmp_path / "journal.jsonl").read_bytes() == b'{"event": "spool", "version": 3}\n'


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


def test_a_spool_without_a_directory_keeps_its_state_in_memory():
    with Spool(None) as spool:
        spool.send(result("p0"))
        spool.accept(recommendation())
        assert (list(spool.unanswered), list(spool.plans)) == (["result-p0"], ["r1"])


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
def test_any_damaged_entry_is_refused_in_one_sentence(tmp_path, name):
    with Spool(tmp_path) as spool:
        spool.send(result("p0"))
    header = json.dumps(result("p0").frames[0].decode()).encode()
    lines = (tmp_path / "journal.jsonl").read_bytes().splitlines()[:1]
    damaged = DAMAGED[name].replace(b"%s", header)
    (tmp_path / "journal.jsonl").write_bytes(b"\n".join([*lines, damaged, b'{"event": "begun"}', b""]))
    with pytest.raises(SpoolError, match="move that directory away"):
        Spool(tmp_path)


def scan(scan_id="s1", sample_id="film"):
    arrays = {"channels": np.ones((1, 2, 3), np.float32)}
    message = ScanMessage(
        id=f"scan-{scan_id}",
        sent_at=NOW,
        arrays=codec.specs(arrays),
        scan_id=scan_id,
        sample_id=sample_id,
        frame=Frame(size_fast_m=1e-5, size_slow_m=1e-5, rows=2, cols=3),
        channels=(ChannelSpec(name="Amplitude", unit="m"),),
    )
    return Outgoing(message, codec.encode(codec.Packet(message, arrays)))


def everything(spool):
    """The complete state of a spool, as plain values."""
    record = spool.as_record()
    return record | {"frames": [[bytes(f) for f in o.frames] for o in spool.unanswered.values()], "last": spool.last_written}


def use_spool(directory):
    with Spool(directory) as spool:
        for n in range(3):
            spool.send(scan(f"s{n}"), NOW)
            spool.record_answer(f"scan-s{n}", run_id="run-1", refused=False)
            plan = recommendation(f"r{n}", (f"s{n}-p0", f"s{n}-p1", f"s{n}-p2")).model_copy(
                update={"scan_id": f"s{n}", "seq": n + 1}
            )
            spool.accept(plan)
            for request in plan.requests[:2]:
                spool.begin(request, f"s{n}")
                spool.send(result(request.request_id))
            spool.record_answer(f"result-s{n}-p0", run_id="run-1", refused=False)
        spool.change_command_state(
            lambda state: state.model_copy(update={"run_id": "run-1", "command_seq": 7, "state": "paused", "who": "Ada"})
        )
        spool.send(scan("s3"), NOW)
        spool.record_answer("scan-s3", run_id="run-1", refused=False)


def test_a_long_journal_is_compacted_at_the_start_and_nothing_is_lost(tmp_path, monkeypatch):
    use_spool(tmp_path)
    hours_ago = 1_700_000_000
    os.utime(tmp_path / "journal.jsonl", (hours_ago, hours_ago))
    with Spool(tmp_path) as spool:
        before = everything(spool)
    assert (tmp_path / "journal.jsonl").stat().st_mtime == hours_ago
    monkeypatch.setattr(spools, "_COMPACT_AT_RECORDS", 5)
    with Spool(tmp_path) as spool:
        assert everything(spool) == before
    assert len((tmp_path / "journal.jsonl").read_bytes().splitlines()) == 2
    assert (tmp_path / "journal.jsonl").stat().st_mtime == hours_ago, "the time of the last write must be kept"
    with Spool(tmp_path) as spool:
        assert everything(spool) == before
        assert (len(spool.begun), spool.command_state.state, spool.latest_scan_id) == (6, "paused", "s3")
        spool.send(result("later"))
    assert len(list(tmp_path.glob("*.raw"))) == 5


def test_a_kill_while_the_journal_is_compacted_leaves_the_old_one(tmp_path, monkeypatch):
    use_spool(tmp_path)
    monkeypatch.setattr(spools, "_COMPACT_AT_RECORDS", 5)

    def killed(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        Spool(tmp_path)
    monkeypatch.undo()
    with Spool(tmp_path) as spool:
        assert len(spool.begun) == 6


def test_a_spool_of_version_1_is_read(tmp_path):
    use_spool(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_bytes().splitlines()]
    old = [{"event": "spool", "version": 1}]
    for line in lines[1:]:
        if line["event"] == "stands":
            continue
        line.pop("ended_at", None)
        if "header" in line:
            header = json.loads(line["header"]) | {"version": 1}
            for name in ("seq", "expires_at", "bias_max_V", "approved_by"):
                header.pop(name, None)
            line["header"] = json.dumps(header)
        old.append(line)
    (tmp_path / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
    with Spool(tmp_path) as spool:
        assert (len(spool.begun), spool.command_state.seq, list(spool.plans)) == (6, 1, ["r0", "r1", "r2"])
        packets = [codec.decode([bytes(f) for f in o.frames]) for o in spool.unanswered.values()]
        assert [p.message.id for p in packets] == ["result-s0-p1", "result-s1-p1", "result-s2-p1"]
    assert b'{"event": "spool", "version": 2}' in (tmp_path / "journal.jsonl").read_bytes()


def full(*_args, **_options):
    raise OSError(errno.ENOSPC, "No space left on device")


def half(fd, data, _write=os.write):
    if len(data) > 10:
        return _write(fd, data[:10])
    return full()


DISK_FAULTS = {
    "full": (lambda patch, _: patch.setattr(os, "write", full), "No space left on device.*free space on that disk"),
    "full in the middle": (lambda patch, _: patch.setattr(os, "write", half), "free space on that disk"),
    "lost": (lambda patch, _: patch.setattr(os, "fsync", full), "free space on that disk"),
    "removed": (lambda _, directory: shutil.rmtree(directory), "no longer exists.*it was removed while in use, .*"),
}


@pytest.mark.parametrize("name", DISK_FAULTS)
def test_a_failed_write_is_reported_and_every_later_write_fails(tmp_path, monkeypatch, name):
    break_it, why = DISK_FAULTS[name]
    directory = tmp_path / "spool"
    spool = Spool(directory)
    spool.accept(recommendation())
    kept = (directory / "journal.jsonl").read_bytes()
    with monkeypatch.context() as patch:
        break_it(patch, directory)
        with pytest.raises(SpoolError, match=f"the spool .*{why}, then start again"):
            spool.begin(recommendation().requests[0], "s1")
    with pytest.raises(SpoolError, match="nothing more is scanned or measured"):
        spool.send(result("p9"))
    assert spool.begun == {}
    with spool:
        pass
    if name != "removed":
        assert (directory / "journal.jsonl").read_bytes() == kept, "no half line is left"


def test_a_directory_that_cannot_be_created_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match=r"the spool .*file/spool cannot be used \(Not a directory\)"):
        Spool(tmp_path / "file" / "spool")


def test_on_a_full_disk_no_tip_moves_and_the_client_ends_with_the_instrument_safe(agent, halting, client, tmp_path, monkeypatch):
    def on_scan():
        if halting.scans == 2:
            monkeypatch.setattr(os, "write", full)

    halting.on_scan = on_scan
    with pytest.raises(AdapterError, match="No space left on device"):
        client(halting, agent.address, spool_dir=tmp_path)
    monkeypatch.undo()
    assert (halting.measured, halting.closings) == (["s1-p0", "s1-p1"], 1)


def test_a_point_that_cannot_be_recorded_as_begun_is_not_begun(new_instrument, tmp_path, monkeypatch):
    afm = new_instrument()
    with Spool(tmp_path) as spool:
        worker = MeasurementWorker(afm, spool, threading.Event(), lambda: NOW, lambda: NOW)
        worker.scan(lambda _: None)
        plan = recommendation()
        monkeypatch.setattr(os, "write", full)
        with pytest.raises(SpoolError):
            worker.measure_point(plan.requests[0], plan)
        monkeypatch.undo()
    assert afm.measured == []
