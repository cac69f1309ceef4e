"""Valid files in an inbox, and the messages about invalid ones."""

import json
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instrument_adapters.folder.inbox import Inbox, ReturnedResult, parse_results
from instrument_adapters.folder.outbox import Outbox
from instrument_adapters.folder.spreadsheet import ResultFileError
from instrument_adapters.protocol.messages import MeasurementRequest, RecommendationMessage

HERE = Path("/nowhere")
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def taken(raw: bytes, path: Path = HERE / "a.csv") -> list[ReturnedResult]:
    """The results of a file in which everything is understood."""
    found, problems = parse_results(raw, path)
    if problems:
        raise ResultFileError(problems[0])
    return found


def table(text: str, name: str = "a.csv") -> list[ReturnedResult]:
    return taken(text.encode(), HERE / name)


def test_a_spreadsheet_of_a_country_with_decimal_commas_is_understood() -> None:
    (result,) = table("\ufeffrequest_id;x_um;status;coercive_V;reason\r\nr-1;-2,25;ok;1,5;3,5 nm off\r\n")
    assert (result.x_m, dict(result.parameters)) == (pytest.approx(-2.25e-6), {"coercive_V": 1.5})


def test_a_table_in_the_windows_alphabet_is_understood() -> None:
    (result,) = taken("request_id,status,reason\nr-1,skipped,Müll\n".encode("cp1252"))
    assert result.reason == "Müll"


EMPTY = ["request_id,status\n", "request_id,status\nr-1,\n", "request_id,x_um,order,status,a_V\nr-1,-2.5,1,,\n,,,,\n"]


@pytest.mark.parametrize("text", [*EMPTY, "bias_V,response\n0,1\n", "Bias_v\tResponse\n0\t1\n"])
def test_a_table_that_is_not_filled_in_and_a_loop_hold_no_result(text: str) -> None:
    assert table(text) == []


@pytest.mark.parametrize("text", ["{}", "[]", '{"results": []}', '[{"request_id": "r-1"}]'])
def test_json_without_a_status_holds_no_result(text: str) -> None:
    assert table(text, "a.json") == []


BAD = [
    ("request_id,status\nr-1,done\n", "result 1 of /nowhere/a.csv has the status 'done'; allowed are ok, skipped and failed"),
    ("request_id,status\n,ok\n", "is invalid: .*match pattern"),
    ("request_id,status\n../r,ok\n", "is invalid"),
    ("request_id,status,a_V\nr,ok,much\n", "'a_V' is 'much'; give a finite number"),
    ("request_id,status,a_V\nr,ok,nan\n", "'a_V' is 'nan'; give a finite number"),
    ("request_id,status,x_um\nr,ok,1e999\n", "'x_um' is '1e999'"),
    ("request_id,status,measured_at\nr,ok,noon\n", "'measured_at' is 'noon'; give a time such as 2026"),
    ("request_id,status,loop_file\nr,ok,../a.csv\n", "give the name of a file in the inbox, without a folder"),
    ("request_id,status,loop_file\nr,ok,a.csv\n", "a.csv cannot be read"),
    ("request_id,status," + ",".join(f"a{n}_V" for n in range(65)) + "\nr,ok" + ",1" * 65, "has 65 parameters, at most 64"),
    ("request_id,status\n" + "r,ok\n" * 10_001, "holds 10001 results, at most 10000"),
    ('request_id,status\n"r,ok' + "x" * 200_000, "is not a table"),
    ('request_id,status,reason\nr-1,ok,"a scratch\nr-2,ok,\n', "is not a table .unexpected end of data"),
    ("", "/nowhere/a.csv is empty"),
    ("\n\n", "/nowhere/a.csv is empty"),
    ("a\n1\n", "has no column request_id and no column status; its columns are a"),
    ("d-1-000,ok\n", "its columns are d-1-000, ok"),
    ("request_id,reason\nr,a scratch\n", "has no column status; its columns are request_id, reason"),
    ("request_id,status,Status\nr,ok,\n", "has two columns named 'status'"),
    ("request_id,status,a_V,a_V\nr,ok,1,2\n", "has two columns named 'a_V'"),
    ("request_id,status,a_V\nr,,2.5\n", "has a value for 'a_V' but no status; give it one of ok, skipped and failed"),
    ("request_id,status,reason\nr,,a scratch\n", "has a value for 'reason' but no status"),
    ("request_id,status,a_V\nr,ok,2,5\n", "has '5' in a column without a name; name it, or put numbers with commas"),
    ("request_id,status,a_V,,\nr,ok,2,5,\n", "has '5' in a column without a name"),
    ("request_id,status,a_V\nr,ok,1\nr,ok,2\n", "holds different results of r, so none of them is taken"),
    ("request_id,status,a_V\nr,ok,1_000\n", "'a_V' is '1_000'; give a finite number"),
    ("request_id,status,a_V\nr,ok,02. Mai\n", "'a_V' is '02. Mai'; give a finite number"),
    ("request_id,status,a_V\nr,ok,#NAME?\n", "'a_V' is '#NAME.'; give a finite number"),
    ("request_id,status,a_V\nr,ok,2.5 V\n", "'a_V' is '2.5 V'; give a finite number"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD, ids=range(len(BAD)))
def test_a_table_that_cannot_be_understood_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ResultFileError, match=sentence):
        table(text)


BAD_JSON = [
    ("{", "is not JSON"),
    ("[" * 100_000, "is not JSON"),
    ("3", "holds no results"),
    ("[3]", "holds no results"),
    ('{"results": 3}', "holds no results"),
    ('{"request_id": 3, "status": "ok"}', "is invalid"),
    ('{"request_id": "r", "status": "ok", "parameters": [1]}', "'parameters' is list"),
    ('{"request_id": "r", "status": "ok", "parameters": {"a_V": true}}', "'a_V' is 'True'"),
    ('{"request_id": "r", "status": "ok", "parameters": {"a_V": NaN}}', "'a_V' is 'nan'"),
    ('{"request_id": "r", "status": "ok", "a_V": [[[]]]}', "give a finite number"),
    ('{"request_id": "r", "status": "ok", "a_V": 1' + "0" * 400 + "}", "give a finite number"),
    ('{"request_id": "r", "status": "ok", "": 1}', "is invalid"),
    ('{"request_id": "r", "status": "ok", "a_V": 1, "a_V": 2}', "an object has the same key twice"),
    ('{"request_id": "r", "status": "ok", "Status": "failed"}', "an object has the same key twice"),
    ('{"request_id": "r", "parameters": {"a_V": 2}}', "has a value for 'parameters' but no status"),
    ('{"request_id": "r", "status": "ok", "a_V": "1,234"}', "that could be 1.234 or 1234"),
    ('{"request_id": "r", "status": "ok", "loop_file": "a\\u0000.csv"}', "give the name of a file in the inbox"),
]


@pytest.mark.parametrize(("text", "sentence"), BAD_JSON, ids=range(len(BAD_JSON)))
def test_json_that_cannot_be_understood_is_refused_in_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ResultFileError, match=sentence):
        table(text, "a.json")


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.sampled_from([f"p{n}_V" for n in range(9)]), st.floats(-1e300, 1e300)))
def test_parameters_survive_table_and_json(parameters: dict[str, float]) -> None:
    row = {"request_id": "r-1", "status": "ok", **{k: repr(v) for k, v in parameters.items()}}
    text = ",".join(row) + "\n" + ",".join(row.values()) + "\n"
    page = json.dumps({"request_id": "r-1", "status": "ok", "parameters": parameters})
    for (result,) in (table(text), table(page, "a.json")):
        assert dict(result.parameters) == parameters


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.floats(-45e-6, 45e-6), st.floats(-45e-6, 45e-6)), min_size=1, max_size=5))
def test_the_outboxs_table_given_back_says_the_same_places(tmp_path: Path, places: list[tuple[float, float]]) -> None:
    requests = tuple(
        MeasurementRequest(request_id=f"d-1-{n:03d}", x_m=x, y_m=y, row=0, col=0, cluster=0, rank=n, core_distance=0.0)
        for n, (x, y) in enumerate(places)
    )
    head = {"id": f"r-{hash(requests)}", "sent_at": NOW, "seq": 1, "decision_id": "d-1", "scan_id": "s", "reason": ""}
    path = Outbox(tmp_path, lambda: NOW).write(RecommendationMessage(**head, requests=requests), None)
    filled = path.read_text(encoding="utf-8-sig").replace("policy,,", "policy,ok,")
    results = taken(filled.encode(), path)
    assert [r.request_id for r in results] == [r.request_id for r in requests]
    np.testing.assert_allclose([(r.x_m, r.y_m) for r in results], places, atol=1e-12)


def test_a_file_that_is_wrong_is_told_of_once_and_read_when_it_is_corrected(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = Inbox(tmp_path, count().__next__)
    (tmp_path / "a.csv").write_text("request_id,status\nr,done\n")
    (tmp_path / "a.ibw").write_text("a loop")
    (tmp_path / "b.csv.part").write_text("still being copied")
    for _ in range(5):
        inbox.poll()
    assert caplog.text.count("correct it and save it again") == 1
    (tmp_path / "a.csv").write_text("request_id,status\nr,failed\n")
    for _ in range(5):
        inbox.poll()
    assert inbox.results["r"].status == "failed"


def test_an_inbox_that_is_not_there_yet_is_empty(tmp_path: Path) -> None:
    inbox = Inbox(tmp_path / "none", count().__next__)
    inbox.poll()
    assert inbox.results == {}
