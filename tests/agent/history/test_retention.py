"""Which arrays retention releases, which it keeps, and that released arrays are not taken for lost ones."""

import functools
import os
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.config.retention import RetentionSettings
from agent.history.event_log import Event, History
from agent.history.readers import decision_in
from agent.history.retention import ReferencedArray, plan_release, releasable_arrays, release, weights_needed
from agent.schema import event_kinds as kinds
from instrument_adapters import exit_codes
from tests.support.history.golden_runs import golden_run
from tests.support.history.retention import retain
from tests.support.samples import NOW

Vaestar = Callable[..., Result]
LATER = NOW + timedelta(days=365)
ALL = RetentionSettings(keep_days=0, keep_latents=False, keep_weights=False)
SETTINGS = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def decision_event(
    seq: int, sample: str = "bto", cold_because: str = "", outcome: str = "types_found", previous: str | None = "-"
) -> Event:
    """A decision's event as retention sees it; previous "-": written by an older version that did not record it."""
    decision = {
        "decision_id": f"d-{seq}",
        "sample_id": sample,
        "outcome": outcome,
        "warm_from": None,
        "cold_because": cold_because,
    }
    body = {"decision": decision} | ({} if previous == "-" else {"asked": {"after": seq - 1, "previous": previous}})
    return Event(seq, NOW, kinds.DECISION_MADE, f"d-{seq}", body)


ANEW = "every 10 scans the search starts from nothing"
CONTROL = "the held-out ELBO of a model trained from nothing is 0.01 nats a pixel above that of one that goes on from d-1"


@pytest.mark.parametrize(
    ("decisions", "needed"),
    [
        ([decision_event(1)], [1]),
        ([decision_event(1), decision_event(2)], [1, 2]),
        ([decision_event(1), decision_event(2, cold_because=ANEW)], [2]),
        ([decision_event(1), decision_event(2, cold_because=CONTROL)], [1, 2]),
        ([decision_event(1), decision_event(2, outcome="bad_scan")], [1]),
        ([decision_event(1), decision_event(2, outcome="bad_scan"), decision_event(3)], [1, 3]),
        ([decision_event(1), decision_event(2, sample="pzt")], [1, 2]),
        ([decision_event(1), decision_event(2), decision_event(3, previous="d-1")], [1, 3]),
        ([decision_event(1), decision_event(2, previous=None)], [2]),
        (
            [
                decision_event(1, previous=None),
                decision_event(2, previous="d-1"),
                decision_event(3, cold_because=ANEW, previous="d-2"),
            ],
            [1, 3],
        ),
    ],
)
def test_weights_stay_that_a_decision_rests_on_or_the_next_one_may(decisions: list[Event], needed: list[int]) -> None:
    assert sorted(weights_needed(decisions)) == needed


def reference(
    digest: str, name: str = "latents", needed: str = "", days_old: float = 100, kind: str = kinds.DECISION_MADE
) -> ReferencedArray:
    return ReferencedArray(digest, 1, kind, name, LATER - timedelta(days=days_old), needed)


def test_only_what_is_old_unneeded_and_allowed_goes() -> None:
    def released(*references: ReferencedArray, **changes: object) -> set[str]:
        chosen = RetentionSettings(**({"keep_days": 30, "keep_latents": False, "keep_weights": False} | changes))
        return {array.digest for array in releasable_arrays(references, chosen, LATER)}

    assert released(reference("a"), reference("b", "weights:v-w5-s0")) == {"a", "b"}
    assert released(reference("a"), reference("b", "weights:v-w5-s0"), keep_latents=True) == {"b"}
    assert released(reference("a"), reference("b", "weights:v-w5-s0"), keep_weights=True) == {"a"}
    assert released(reference("a", days_old=29)) == set()
    assert released(reference("a", "weights:x", needed="decision d-2 rests on them")) == set()
    assert released(reference("a"), reference("a", "weights:x", needed="x")) == set()  # shared
    assert released(reference("a"), reference("a", days_old=1)) == set()
    for kind, name in ((kinds.SCAN_RECEIVED, "channels"), (kinds.RESULT_RECEIVED, "latents"), (kinds.DECISION_MADE, "z")):
        assert released(reference("a", name, kind=kind)) == set()


def test_by_default_everything_stays(tmp_path: Path) -> None:
    with History(golden_run(tmp_path)) as history:
        before = sorted(path for _, path in history.arrays.files())
        assert retain(history, RetentionSettings(), datetime.now(NOW.tzinfo) + timedelta(days=3650)) is None
        assert sorted(path for _, path in history.arrays.files()) == before


def test_what_goes_is_recorded_first_and_told_from_what_was_lost(tmp_path: Path) -> None:
    with History(golden_run(tmp_path)) as history:
        later = datetime.now(NOW.tzinfo) + timedelta(days=1)
        event = retain(history, ALL, later)
        assert event.kind == kinds.ARRAYS_RELEASED
        assert {entry["name"] for entry in event.body["released"]} == {"latents"}
        assert len(event.body["released"]) == 5
        sizes = {entry["digest"]: entry["bytes"] for entry in event.body["released"]}  # two decisions share theirs
        assert event.body["bytes"] == sum(sizes.values()) > 0
        assert history.released() == set(sizes)
        report = history.inspect()
        assert (report.faults, report.remarks) == ([], [f"5 arrays were released on purpose (event {event.seq})"])
        assert retain(history, ALL, later) is None
        for e in history.events(kind=kinds.DECISION_MADE):
            assert "latents" not in decision_in(history, e).arrays
        lost = next(history.events(kind=kinds.SCAN_RECEIVED)).arrays["channels"]
        history.arrays.path(lost).unlink()
        (fault,) = {f.split(": array ")[0] for f in history.verify() if f.startswith("event 4:")}
        assert fault == "event 4: 'channels'"


def test_a_release_that_names_what_must_never_go_excuses_nothing(tmp_path: Path) -> None:
    with History(golden_run(tmp_path)) as history:
        scan = next(history.events(kind=kinds.SCAN_RECEIVED))
        released = [{"digest": scan.arrays["channels"], "seq": scan.seq, "name": "channels", "bytes": 1}]
        history.record(kinds.ARRAYS_RELEASED, "history", {"reason": "x", "released": released, "orphans": []}, at=NOW)
        history.arrays.path(scan.arrays["channels"]).unlink()
        assert any(f.startswith("event 4: 'channels'") for f in history.verify())


def test_after_a_crash_between_record_and_removal_the_next_time_removes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = datetime.now(NOW.tzinfo) + timedelta(days=1)
    with History(golden_run(tmp_path)) as history:
        with monkeypatch.context() as patched:
            patched.setattr(Path, "unlink", lambda *_args, **_more: (_ for _ in ()).throw(PermissionError("in use")))
            event = retain(history, ALL, later)
        assert all(history.arrays.path(entry["digest"]).exists() for entry in event.body["released"])
        assert history.verify() == []
        assert retain(history, ALL, later) is None  # recorded only once
        assert not any(history.arrays.path(entry["digest"]).exists() for entry in event.body["released"])


def test_what_was_taken_up_again_since_the_plan_was_made_stays(tmp_path: Path) -> None:
    later = datetime.now(NOW.tzinfo) + timedelta(days=1)
    with History(golden_run(tmp_path)) as history:
        plan = plan_release(history, ALL, later)
        again = history.arrays.get(plan.released[0].digest)
        history.record("noted", "x", {}, at=NOW, arrays={"again": again})
        event = release(history, plan, functools.partial(history.record, at=later))
        assert plan.released[0].digest not in {entry["digest"] for entry in event.body["released"]}
        assert history.verify() == []


def test_an_array_that_comes_back_after_its_release_is_needed_again(tmp_path: Path) -> None:
    later = datetime.now(NOW.tzinfo) + timedelta(days=1)
    with History(golden_run(tmp_path)) as history:
        digest = plan_release(history, ALL, later).released[0].digest
        array = history.arrays.get(digest)
        retain(history, ALL, later)
        history.record("noted", "x", {}, at=NOW, arrays={"again": array})
        assert retain(history, ALL, later) is None
        history.arrays.path(digest).unlink()
        (fault,) = history.verify()
        assert "'again'" in fault


def test_files_of_no_event_go_after_a_day(tmp_path: Path) -> None:
    with History(golden_run(tmp_path)) as history:
        old, new = (history.arrays.put(np.arange(n)) for n in (7, 8))
        torn = history.arrays.path(old).with_name(f".{old}.npy.123")
        torn.write_bytes(b"half")
        now = datetime.now(NOW.tzinfo)
        for path in (history.arrays.path(old), torn):
            os.utime(path, times=((now - timedelta(days=2)).timestamp(),) * 2)
        event = retain(history, RetentionSettings(), now)
        assert {entry["file"] for entry in event.body["orphans"]} == {f"{old}.npy", torn.name}
        assert not torn.exists()
        assert not history.arrays.path(old).exists()
        assert history.arrays.path(new).exists()
        assert history.verify() == []


@pytest.mark.slow
@SETTINGS
@given(data=st.data())
def test_after_any_retention_every_array_is_there_or_said_to_be_released(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Random histories of decisions that share arrays and rest on one another."""
    numbers = st.integers(0, 3)  # few values, so that arrays are shared
    with History(tmp_path_factory.mktemp("run")) as history:
        names: list[str] = []
        for i in range(data.draw(st.integers(1, 6))):
            outcome = data.draw(st.sampled_from(["types_found", "bad_scan"]))
            previous = data.draw(st.sampled_from([None, *names]))
            why = data.draw(st.sampled_from(["", ANEW, CONTROL]))
            decision = {
                "decision_id": f"d-{i}",
                "sample_id": data.draw(st.sampled_from("ab")),
                "outcome": outcome,
                "cold_because": why,
            }
            arrays = {name: np.full(2, data.draw(numbers)) for name in ("latents", "z", "weights:x")}
            history.record("scan_received", f"s-{i}", {}, at=NOW, arrays={"channels": np.full(2, data.draw(numbers))})
            body = {"decision": decision, "asked": {"after": i, "previous": previous}}
            history.record(kinds.DECISION_MADE, f"d-{i}", body, at=NOW + timedelta(days=i), arrays=arrays)
            names.append(f"d-{i}")
        before = {e.seq: e.arrays for e in history.events()}
        chosen = RetentionSettings(
            keep_days=data.draw(st.integers(0, 8)), keep_latents=data.draw(st.booleans()), keep_weights=data.draw(st.booleans())
        )
        event = retain(history, chosen, NOW + timedelta(days=7))
        assert history.verify() == []
        released = {(entry["seq"], entry["name"]) for entry in event.body["released"]} if event else set()
        needed = weights_needed(list(history.events(kind=kinds.DECISION_MADE)))
        for seq, arrays in before.items():
            for name, digest in arrays.items():
                gone = not history.arrays.path(digest).exists()
                assert gone == ((seq, name) in released)
                assert not (gone and name in ("channels", "z"))
                assert not (gone and name == "weights:x" and seq in needed)


def test_the_command_says_what_would_go_and_then_lets_it_go(tmp_path: Path, vaestar: Vaestar) -> None:
    run = golden_run(tmp_path)
    (tmp_path / "r.toml").write_text("[retention]\nkeep_days = 0\nkeep_latents = false\n")
    arguments = ("history", "retain", "--run", run, "--config", tmp_path / "r.toml")
    before = sorted((run / "arrays").rglob("*.npy"))
    dry = vaestar(*arguments, "--dry-run")
    assert dry.exit_code == 0, dry.stderr
    assert dry.stdout.count(": latents, ") == 5
    assert "5 arrays and 0 stray files can be released, " in dry.stdout
    assert sorted((run / "arrays").rglob("*.npy")) == before
    assert "released, event 57: " in vaestar(*arguments).stdout
    assert "nothing was released" in vaestar(*arguments).stdout
    assert vaestar("history", "verify", "--run", run).stdout.splitlines()[0] == "(5 arrays were released on purpose (event 57))"
    assert "nothing was released" in vaestar("history", "retain", "--run", run).stdout  # the settings of the run keep everything
    decision = next(line for line in dry.stdout.splitlines()).split()[1].rstrip(":")
    assert "array latents: released" in vaestar("history", "show", decision, "--run", run).stdout


def test_the_command_is_refused_while_an_agent_uses_the_run(tmp_path: Path, vaestar: Vaestar) -> None:
    run = golden_run(tmp_path)
    with History(run):
        done = vaestar("history", "retain", "--run", run)
        assert (done.exit_code, "another agent is using it" in done.stderr) == (exit_codes.STORAGE, True)
        assert vaestar("history", "retain", "--run", run, "--dry-run").exit_code == 0
