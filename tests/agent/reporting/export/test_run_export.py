"""Exports hold what the history holds, and are written completely or not at all."""

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import event_model
import h5py
import numpy as np
import pytest
from click.testing import Result

from agent.errors import HistoryError
from agent.history.database import canonical_json
from agent.history.event_log import Event, History
from agent.history.readers import scan_in
from agent.reporting.export.run_export import atomic_output
from agent.schema import event_kinds as kinds
from instrument_adapters.formats.scan_file import read_scan
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan
from tests.support.history.golden_runs import golden_run
from tests.support.history.history_tampering import tamper
from tests.support.samples import NOW

Vaestar = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return golden_run(tmp_path)


@pytest.fixture
def exported(run: Path, tmp_path: Path, vaestar: Vaestar) -> Callable[..., Path]:
    def export(form: str, *options: object) -> Path:
        out = tmp_path / f"{form}-{len(list(tmp_path.iterdir()))}"
        done = vaestar("history", "export", "--run", run, "--format", form, "--out", out, *options)
        assert done.exit_code == 0, done.stderr
        return out

    return export


def events(run: Path, kind: str | None = None) -> list[Event]:
    with History(run, read_only=True) as history:
        return list(history.events(kind=kind))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_json_lines_have_a_header_and_hold_every_event(run: Path, vaestar: Vaestar) -> None:
    done = vaestar("history", "export", "--run", run)
    assert done.exit_code == 0
    assert done.stdout.isascii()  # whatever the terminal's encoding
    head, *lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert (head["format"], head["version"], head["schema"]) == ("vaestar-history", 1, 2)
    recorded = events(run)
    assert head["head"] == f"{recorded[-1].seq}:{recorded[-1].hash}"
    for line, event in zip(lines, recorded, strict=True):
        assert (line["seq"], line["body"], line["hash"], line["arrays"]) == (event.seq, event.body, event.hash, event.arrays)
    assert vaestar("history", "export", "--json", "--run", run).stdout == done.stdout  # the older name of the option


def test_the_chain_can_be_checked_from_the_json_lines_alone(exported: Callable[..., Path]) -> None:
    before = "0" * 64
    for line in exported("jsonl").read_text().splitlines()[1:]:
        e = json.loads(line)
        texts = canonical_json(e["body"]), canonical_json(e["arrays"])
        fields = [before, e["seq"], e["recorded_at"], e["kind"], e["subject"], e["once"], *texts]
        before = hashlib.sha256(json.dumps(fields).encode()).hexdigest()
        assert before == e["hash"]


def test_an_export_can_be_limited_to_an_instrument_a_sample_a_scan_or_a_time(run: Path, exported: Callable[..., Path]) -> None:
    def seqs(*options: str) -> list[int]:
        return [json.loads(line)["seq"] for line in exported("jsonl", *options).read_text().splitlines()[1:]]

    assert seqs("--instrument", "afm-2") == [24, 25, 26, 27, 28, 29]
    assert seqs("--sample", "pzt") == [25, 26, 27, 28, 29]
    assert seqs("--scan", "scan-7") == [49, 51]
    assert seqs("--since", events(run)[53].recorded_at.isoformat()) == [54, 55, 56]
    assert [p.name for p in exported("nsid", "--scan", "scan-2").iterdir()] == ["scan-2.h5"]
    assert len(table(exported("csv", "--sample", "pzt") / "requests_and_results.csv")) == 3


def test_the_tables_hold_every_event_decision_candidate_request_and_loop(run: Path, exported: Callable[..., Path]) -> None:
    folder = exported("csv")
    recorded, decisions = events(run), [e.body["decision"] for e in events(run, kinds.DECISION_MADE)]
    assert [int(row["seq"]) for row in table(folder / "events.csv")] == [e.seq for e in recorded]
    rows = table(folder / "decisions.csv")
    assert [(r["decision_id"], r["outcome"], int(r["places"])) for r in rows] == [
        (d["decision_id"], d["outcome"], len(d["requests"])) for d in decisions
    ]
    candidates = [c for d in decisions for c in d["candidates"]]
    for row, c in zip(table(folder / "candidates.csv"), candidates, strict=True):
        assert (row["candidate_id"], float(row["value"]), float(row["metric_icl"])) == (
            c["candidate_id"],
            c["value"],
            c["metrics"]["icl"],
        )
    requests = [r for d in decisions for r in d["requests"]]
    rows = table(folder / "requests_and_results.csv")
    assert [(r["request_id"], float(r["x_m"])) for r in rows] == [(r["request_id"], r["x_m"]) for r in requests]
    assert [r["status"] for r in rows[:5]] == ["ok", "failed", "skipped", "ok", "ok"]
    assert float(rows[0]["coercive_V"]) == 2.5
    assert rows[1]["coercive_V"] == ""
    loops = table(folder / "loops.csv")
    assert len(loops) == 6 * 16
    with History(run, read_only=True) as history:
        first = next(history.events(kind=kinds.RESULT_RECEIVED))
        response = history.arrays.get(first.arrays["response"])
    assert [float(row["response"]) for row in loops[:16]] == response.tolist()


def test_a_place_that_an_operator_moved_has_a_row_of_its_own(run: Path, exported: Callable[..., Path]) -> None:
    from tests.agent.provenance.test_narratives import approve, decision_on

    moved = approve(run, decision_on(run, "scan-8"))
    rows = table(exported("csv", "--scan", "scan-8") / "requests_and_results.csv")
    assert [row["fate"].partition(":")[0] for row in rows[1:4]] == [
        "dropped by Ada",
        f"moved by Ada, now {moved['request_id']}",
        "refused",
    ]
    assert (rows[-1]["request_id"], float(rows[-1]["x_m"])) == (moved["request_id"], moved["x_m"])


def test_text_that_looks_like_a_formula_is_escaped(tmp_path: Path, vaestar: Vaestar) -> None:
    with History(tmp_path / "run") as history:
        history.record("noted", "=1+1", {"reason": "@SUM(A1)", "by": "-2"}, at=NOW)
    done = vaestar("history", "export", "--run", tmp_path / "run", "--format", "csv", "--out", tmp_path / "out")
    assert done.exit_code == 0, done.stderr
    (row,) = table(tmp_path / "out" / "events.csv")
    assert (row["subject"], row["reason"], row["by"]) == ("'=1+1", "'@SUM(A1)", "'-2")


@pytest.mark.slow
def test_a_scan_in_nsid_is_read_back_by_our_own_reader(run: Path, exported: Callable[..., Path]) -> None:
    folder = exported("nsid")
    assert len(list(folder.iterdir())) == 8
    with History(run, read_only=True) as history:
        for event in history.events(kind=kinds.SCAN_RECEIVED):
            scan = scan_in(history, event)
            back = read_scan(folder / f"{event.body['instrument_id']}-{event.subject}.h5")
            assert list(back.channels) == list(scan.channels)
            for name, image in scan.channels.items():
                assert np.array_equal(back.channels[name], image)
            assert back.units == scan.units
            assert back.frame == scan.frame
            assert (back.started_at, back.finished_at) == (scan.started_at, scan.finished_at)
            assert back.metadata["operator"] == "Łukasz"


@pytest.mark.slow
def test_a_rotated_and_oblong_scan_keeps_its_orientation_in_nsid(tmp_path: Path) -> None:
    from agent.reporting.export.nsid import write_scan

    frame = Frame(size_fast_m=3e-6, size_slow_m=1e-6, x_offset_m=4e-6, y_offset_m=-7e-6, angle_rad=0.6, rows=5, cols=7)
    image = np.arange(35, dtype=np.float32).reshape(5, 7)
    scan = Scan({"HeightRetrace": image, "Phase": image * np.nan}, {"HeightRetrace": "m", "Phase": "deg"}, frame, "s-1")
    with h5py.File(tmp_path / "s.h5", "w") as file:
        write_scan(file, scan)
    back = read_scan(tmp_path / "s.h5")
    assert np.array_equal(back.channels["HeightRetrace"], image)
    assert np.isnan(back.channels["Phase"]).all()
    corner = np.array([[0.0, 6.0]])
    np.testing.assert_allclose(back.frame.to_metres(corner), frame.to_metres(corner), rtol=1e-12)


def test_the_loops_and_the_decision_lie_beside_the_scan_in_nsid(run: Path, exported: Callable[..., Path]) -> None:
    folder = exported("nsid", "--scan", "scan-2")
    decision = events(run, kinds.DECISION_MADE)[1]
    results = [e for e in events(run, kinds.RESULT_RECEIVED) if e.body["scan_id"] == "scan-2" and e.arrays]
    with h5py.File(folder / "scan-2.h5") as file, History(run, read_only=True) as history:
        loops = {
            file[f"Measurement_001/{n}/{n}/{n}"].attrs["quantity"]: file[f"Measurement_001/{n}/{n}/{n}"]
            for n in ("Channel_0", "Channel_1")
        }
        assert set(loops) == {"bias_V", "response"}
        data = loops["response"]
        for row, event in zip(data[()], results, strict=True):
            assert np.array_equal(row, history.arrays.get(event.arrays["response"]))
        assert (loops["bias_V"].attrs["units"], [d.label for d in data.dims]) == ("V", ["point", "step"])
        places = file["Measurement_001/places"]
        assert [name.decode() for name in places["request_id"][()]] == [e.subject for e in results]
        assert places["x_m"][()].tolist() == [e.body["x_m"] for e in results]
        assert places["parameters/coercive_V"][()].tolist() == [e.body["parameters"]["coercive_V"] for e in results]
        group = file["Decision_000"]
        assert group.attrs["decision_id"] == decision.subject
        assert json.loads(group["record"][()]) == decision.body["decision"]
        for name, digest in decision.arrays.items():
            assert np.array_equal(group[f"arrays/{name}"][()], history.arrays.get(digest))


def test_the_layout_is_that_of_pynsid(exported: Callable[..., Path]) -> None:
    with h5py.File(exported("nsid", "--scan", "scan-1") / "scan-1.h5") as file:
        data = file["Measurement_000/Channel_0/Channel_0/Channel_0"]
        assert set(data.attrs) >= {"quantity", "units", "data_type", "modality", "source", "main_data_name", "pyNSID_version"}
        assert data.attrs["data_type"] == "IMAGE"
        for dim, name in enumerate("xy"):
            (scale,) = data.dims[dim].values()
            assert scale.name == f"{data.parent.name}/{name}"
            assert {k: scale.attrs[k] for k in ("name", "units", "dimension_type")} == {
                "name": name,
                "units": "m",
                "dimension_type": "SPATIAL",
            }
        assert isinstance(data.parent["original_metadata"], h5py.Group)


def test_every_bluesky_document_keeps_its_schema_and_they_belong_together(run: Path, exported: Callable[..., Path]) -> None:
    lines = [json.loads(line) for line in exported("bluesky").read_text().splitlines()]
    for name, document in lines:
        event_model.schema_validators[event_model.DocumentNames[name]].validate(document)
    starts = [d for n, d in lines if n == "start"]
    assert [d["scan_name"] for d in starts] == [e.subject for e in events(run, kinds.SCAN_RECEIVED)]
    descriptors = {d["uid"]: d for n, d in lines if n == "descriptor"}
    assert {d["name"] for d in descriptors.values()} == {"scan", "decision", "measurement", "measurement_2"}
    results = [d for n, d in lines if n == "event" and descriptors[d["descriptor"]]["name"].startswith("measurement")]
    assert {d["data"]["request_id"] for d in results} == {e.subject for e in events(run, kinds.RESULT_RECEIVED)}
    loop = next(d["data"] for d in results if d["data"]["status"] == "ok")
    with History(run, read_only=True) as history:
        event = next(e for e in history.events(kind=kinds.RESULT_RECEIVED) if e.subject == loop["request_id"])
        assert loop["response"] == history.arrays.get(event.arrays["response"]).tolist()
    stops = [d for n, d in lines if n == "stop"]
    assert [d["run_start"] for d in stops] == [d["uid"] for d in starts]
    assert len({d["uid"] for _, d in lines}) == len(lines)


def test_the_same_history_gives_the_same_documents(exported: Callable[..., Path]) -> None:
    assert exported("bluesky").read_bytes() == exported("bluesky").read_bytes()


def test_without_event_model_the_export_says_what_to_install(
    run: Path, vaestar: Vaestar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "event_model", None)
    done = vaestar("history", "export", "--run", run, "--format", "bluesky")
    assert done.exit_code == 2
    assert "install it with: pip install 'vaestar[bluesky]'" in done.stderr


@pytest.mark.parametrize("form", ["jsonl", "csv", "nsid", "bluesky"])
def test_nothing_is_overwritten_unless_it_is_asked_for(
    run: Path, exported: Callable[..., Path], vaestar: Vaestar, form: str
) -> None:
    out = exported(form)
    before = sorted(p.name for p in out.parent.iterdir())
    again = ("history", "export", "--run", run, "--format", form, "--out", out)
    done = vaestar(*again)
    assert (done.exit_code, "exists already; choose another path, or replace it with --force" in done.stderr) == (2, True)
    assert vaestar(*again, "--force").exit_code == 0
    assert sorted(p.name for p in out.parent.iterdir()) == before


def test_a_folder_that_holds_other_things_is_never_replaced(run: Path, tmp_path: Path, vaestar: Vaestar) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("x")
    for form, message in (("csv", "holds more than .csv files"), ("jsonl", "is a folder and is not replaced")):
        done = vaestar("history", "export", "--run", run, "--format", form, "--out", tmp_path / "precious", "--force")
        assert done.exit_code == 2
        assert message in done.stderr
    assert (tmp_path / "precious" / "thesis.tex").read_text() == "x"


@pytest.mark.parametrize("folder", [None, ".csv"])
def test_an_export_that_fails_halfway_leaves_nothing_behind_and_keeps_the_old_output(tmp_path: Path, folder: str | None) -> None:
    out = tmp_path / "out"
    with atomic_output(out, folder=folder, force=False) as part:
        (part / "a.csv" if folder else part).write_text("old")

    def fail(part: Path) -> None:
        (part / "a.csv" if folder else part).write_text("new")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), atomic_output(out, folder=folder, force=True) as part:
        fail(part)
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert (out / "a.csv" if folder else out).read_text() == "old"


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(HistoryError, match="cannot be written"),
        atomic_output(tmp_path / "file" / "out", folder=None, force=False),
    ):
        pass


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--format", "hdf4"], "unknown format 'hdf4'; choose jsonl, csv, nsid or bluesky"),
        (["--format", "csv"], "name the folder with --out"),
        (["--since", "soon"], "'soon' is not a time"),
    ],
)
def test_what_cannot_be_exported_is_refused(run: Path, vaestar: Vaestar, options: list[str], message: str) -> None:
    done = vaestar("history", "export", "--run", run, *options)
    assert done.exit_code == 2
    assert message in done.stderr


@pytest.mark.parametrize("form", ["jsonl", "csv", "nsid", "bluesky"])
@pytest.mark.parametrize("change", ["body = '{}' WHERE seq > 1", "body = '[]'", "arrays = '{}'"])
def test_an_altered_history_is_exported_or_refused_without_a_traceback(
    run: Path, tmp_path: Path, vaestar: Vaestar, form: str, change: str
) -> None:
    tamper(run, f"UPDATE event SET {change}")
    done = vaestar("history", "export", "--run", run, "--format", form, "--out", tmp_path / "out")
    assert done.exit_code in (0, 2)
    assert (tmp_path / "out").exists() == (done.exit_code == 0)


@pytest.mark.parametrize("option", ["--scan", "--sample", "--instrument"])
def test_a_name_that_the_run_does_not_hold_is_refused_instead_of_exporting_nothing(
    run: Path, tmp_path: Path, vaestar: Vaestar, option: str
) -> None:
    done = vaestar("history", "export", "--run", run, option, "nosuch", "--out", tmp_path / "out.jsonl")
    assert done.exit_code == 2
    assert f"no event of {option[2:]} 'nosuch' in {run}, so there is nothing to export" in done.stderr
    assert not (tmp_path / "out.jsonl").exists()
