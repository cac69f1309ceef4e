"""Names, schedules and the sealed log."""

import json
from pathlib import Path

import numpy as np
import pytest

from simulators.errors import UnknownFaultError
from simulators.faults.catalogue import FAULTS, Group, Place, faults_in, find_fault
from simulators.faults.injector import FaultInjector
from simulators.faults.schedule import FaultSchedule, Injection
from simulators.faults.sealed_log import SealedEntry, SealedLog

WANTED = {
    Group.TRANSPORT: "disconnect_mid_scan truncated_file file_still_being_written stale_newest_file duplicate_scan_id lost_ack "
    "replayed_message",
    Group.DATA: "nan_lines skipped_lines shifted_lines wrong_units swapped_labels transposed_axes saturation phase_wrap_offset",
    Group.PROBE: "blunting sensitivity_step f0_step lock_loss contamination_band crash",
    Group.MOTION: "frozen_position silent_clamp",
    Group.SAMPLE: "written_spot written_box",
}


@pytest.mark.parametrize("group", list(Group))
def test_every_fault_of_the_list_has_a_name_a_group_and_a_sentence(group: Group) -> None:
    faults = faults_in(group)
    assert [fault.name for fault in faults] == WANTED[group].split()
    assert all(fault.description.endswith(".") and fault.description.count(".") == 1 for fault in faults)


def test_the_defaults_are_allowed_and_so_is_what_is_drawn() -> None:
    rng = np.random.default_rng(0)
    for fault in FAULTS.values():
        for key, parameter in fault.parameters.items():
            assert parameter.admits(parameter.default), (fault.name, key)
            drawn = [parameter.draw(rng) for _ in range(50)]
            assert all(parameter.admits(value) for value in drawn)
            assert len(set(drawn)) > 1, "a parameter that never changes is none"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("crash", Injection("crash")),
        ("crash@3", Injection("crash", scan=3)),
        ("crash@3:40", Injection("crash", scan=3, line=40)),
        ("lost_ack@point:12", Injection("lost_ack", point=12)),
    ],
)
def test_a_place_is_written_behind_the_name(text: str, expected: Injection) -> None:
    assert Injection.parse(text) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("blunt", "did you mean blunting?"),
        ("gremlins", "give one of disconnect_mid_scan, truncated_file"),
        ("crash@", "write name, name@scan, name@scan:line or name@point:N"),
        ("crash@-1", "write name"),
        ("crash@point:3", "crash cannot be tied to a point; tie it to a line or a scan"),
        ("wrong_units@1:5", "cannot be tied to a line; tie it to a scan"),
        ("crash@0", "counted from 1"),
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(text: str, says: str) -> None:
    with pytest.raises(UnknownFaultError, match=r"\A[^\n]*\Z") as refused:
        Injection.parse(text)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"line": 3}, "needs exactly one place"),
        ({"scan": 1, "given": {"length": 3}}, "no parameter 'length'; it has lines"),
        ({"scan": 1, "given": {"lines": 300}}, "the parameter lines of lock_loss is 300; allowed: 10 to 70"),
        ({"scan": 1, "given": {"lines": 20.5}}, "allowed: 10 to 70"),
        ({"scan": 1, "given": {"lines": "many"}}, "allowed: 10 to 70"),
    ],
)
def test_parameters_and_places_outside_their_range_are_refused(given: dict, says: str) -> None:
    with pytest.raises(UnknownFaultError, match=says):
        Injection("lock_loss", **given)


def test_without_a_place_a_fault_happens_as_soon_as_it_can_in_the_middle_of_the_frame() -> None:
    schedule = FaultSchedule.from_names("crash", "stale_newest_file")
    happened = [[(c.name, c.line) for c in schedule.at_scan(7 + n, lines=64, since_start=1 + n)] for n in range(3)]
    assert happened == [[("crash", 32)], [("stale_newest_file", None)], []]


def test_one_frame_can_have_several_faults_and_points_have_their_own() -> None:
    schedule = FaultSchedule.from_names("crash@2:9", "nan_lines@2", "written_spot@point:4")
    assert [c.name for c in schedule.at_scan(2, lines=64, since_start=2)] == ["crash", "nan_lines"]
    assert schedule.at_scan(1, lines=64, since_start=1) == ()
    assert [[c.name for c in schedule.at_point(n)] for n in (3, 4)] == [[], ["written_spot"]]
    assert schedule.at_scan(2, lines=9, since_start=2)[0].name == "nan_lines", "a frame of 9 lines has no line 9"


def test_the_same_seed_gives_the_same_schedule_in_whatever_order_scans_are_asked_for() -> None:
    one, again, other = (FaultSchedule.random(3.0, np.random.default_rng(seed)) for seed in (5, 5, 6))
    forwards = [one.at_scan(n, lines=64, since_start=n) for n in range(1, 20)]
    backwards = [again.at_scan(n, lines=64, since_start=n) for n in range(19, 0, -1)][::-1]
    assert forwards == backwards
    assert forwards != [other.at_scan(n, lines=64, since_start=n) for n in range(1, 20)]


def test_rates_are_means_of_all_faults_of_a_group_and_of_one_fault() -> None:
    """Poisson counts in 2000 scans; five standard deviations: it fails for one seed in 600,000."""
    rates = {"probe": 1.2, "nan_lines": 0.5}
    schedule = FaultSchedule.random(rates, np.random.default_rng(0))
    names = [c.name for n in range(2, 2002) for c in schedule.at_scan(n, lines=64, since_start=n)]
    assert set(names) == {"nan_lines", *WANTED[Group.PROBE].split()}
    for expected, found in [
        (1000, names.count("nan_lines")),
        (2400, len(names) - names.count("nan_lines")),
        (400, names.count("crash")),
    ]:
        assert abs(found - expected) < 5 * expected**0.5
    assert FaultSchedule.random(2.5, np.random.default_rng(0)).rates == pytest.approx(dict.fromkeys(FAULTS, 0.1))
    assert FaultSchedule.random(0.0, np.random.default_rng(0)).possible == frozenset()


def test_drawn_faults_begin_everywhere_and_last_as_long_as_they_may() -> None:
    schedule = FaultSchedule.random({"lock_loss": 1.0}, np.random.default_rng(1))
    cases = [c for n in range(1, 800) for c in schedule.at_scan(n, lines=64, since_start=n)]
    assert {c.line for c in cases} == set(range(64))
    assert {c.parameters["lines"] for c in cases} == set(range(10, 71))


@pytest.mark.parametrize("rate", [-1.0, float("nan"), 1e6])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(UnknownFaultError, match="0 to 100 are allowed"):
        FaultSchedule.random(rate, np.random.default_rng(0))


def test_an_unknown_group_is_refused_with_the_names_of_groups_and_faults() -> None:
    with pytest.raises(UnknownFaultError, match="no fault or group 'prob'; did you mean probe"):
        FaultSchedule.random({"prob": 1.0}, np.random.default_rng(0))


def test_a_fault_of_the_connection_needs_one() -> None:
    with pytest.raises(UnknownFaultError, match="lost_ack was requested without a connection"):
        FaultInjector(FaultSchedule.from_names("lost_ack"))


def test_the_sealed_log_is_json_lines_that_read_back_and_is_added_to(tmp_path: Path) -> None:
    path = tmp_path / "sealed.jsonl"
    entries = [SealedEntry(fault="crash", group="probe", simulated_s=s, scan=1, lines=(3, 9), rows=(4, 10)) for s in (0.5, 1.5)]
    for entry in entries:
        SealedLog(path).add(entry)
    lines = path.read_text().splitlines()
    assert [SealedEntry.model_validate_json(line) for line in lines] == entries
    assert json.loads(lines[0])["version"] == 1


def test_lines_are_the_finest_place_that_a_fault_of_the_probe_is_tied_to() -> None:
    assert all(Place.LINE in fault.places for fault in faults_in("probe"))
    assert find_fault("lost_ack").places == {Place.SCAN, Place.POINT}
