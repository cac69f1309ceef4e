import csv
import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

import agent
from agent import History, analyze
from agent.config.model import Config
from agent.errors import AgentError, HistoryError
from agent.history.event_log import History as Store
from agent.messaging.dispatcher import Dispatcher
from agent.reporting.figures import FigureError
from agent.reporting.notebook import Analysis
from instrument_adapters.errors import ScanDataError
from tests.support.history.decision_records import make_decision, make_scan, make_unresolved
from tests.support.samples import Clock, hello, result, scan_message

SMALL = {"search": {"windows_px": [9], "families": ["polar"], "seeds": 1, "workers": 0}}


def run_with(directory: Path, *decisions: object) -> Path:
    """A run with one scan for each decision, of whose places the first three have results."""
    with Store(directory) as store:
        dispatch = Dispatcher(store, "run-1", Clock())
        dispatch.run_log.started({}, {})
        dispatch.on_packet("afm-1", hello("afm-1"))
        for decision in decisions:
            dispatch.on_packet("afm-1", scan_message(make_scan(decision.record.frame), "m-scan"))
            dispatch.decision_log.decided(dispatch.ledger.latest("afm-1"), decision, 1.0)
            dispatch.recommendation(dispatch.due("afm-1"))
            if decision.record.requests:
                first, second, third, *_ = (r.request_id for r in decision.record.requests)
                dispatch.on_packet("afm-1", result(first, message_id="m-1"))
                dispatch.on_packet("afm-1", result(second, message_id="m-2"))
                dispatch.on_packet("afm-1", result(third, "skipped", message_id="m-3"))
    return directory


@pytest.fixture
def analysis() -> Analysis:
    return Analysis(make_scan(), make_decision())


def test_the_package_offers_what_a_notebook_needs() -> None:
    assert {"analyze", "History", "Analysis"} <= set(agent.__all__)
    with pytest.raises(AttributeError, match="no attribute 'paint'"):
        _ = agent.paint


def test_tables_are_records_with_a_row_a_place_a_type_and_a_candidate(analysis: Analysis) -> None:
    assert [row["request_id"] for row in analysis.places] == [r.request_id for r in analysis.record.requests]
    assert {"x_m", "y_m", "cluster", "status"} <= set(analysis.places[0])
    assert sum(row["share"] for row in analysis.clusters) == pytest.approx(1.0)
    assert len(analysis.candidates) == len(analysis.record.candidates)
    assert all(not isinstance(value, dict) for row in analysis.candidates for value in row.values())
    assert analysis.configurations[0]["kind"] == "VAE"


def test_arrays_are_numpy_and_fit_one_another(analysis: Analysis) -> None:
    n = len(analysis.arrays["points_rc"])
    assert analysis.arrays["labels"].shape == (n,)
    assert analysis.image.shape == (analysis.record.frame.rows, analysis.record.frame.cols)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["scan", "latent", "reward", "latent_grid", "patches", "pareto"])
def test_each_figure_is_axes_that_can_be_drawn_on(analysis: Analysis, kind: str) -> None:
    (line,) = (axes := analysis.plot(kind)).plot([0, 1], [0, 1])
    assert line in axes.lines


def test_an_unknown_figure_is_refused_with_the_list_of_figures(analysis: Analysis) -> None:
    with pytest.raises(FigureError, match=r"'loop'.* loops"):
        analysis.plot("loop")  # type: ignore[arg-type]
    with pytest.raises(FigureError, match="no loops have been measured"):
        analysis.plot("loops")
    with pytest.raises(FigureError, match="chose no model"):
        Analysis(make_scan(), make_unresolved()).plot("latent")


def test_pyplot_is_used_where_it_is_loaded_and_only_there(analysis: Analysis) -> None:
    pyplot = pytest.importorskip("matplotlib.pyplot")
    before = pyplot.get_fignums()
    with pyplot.rc_context({"backend": "agg"}):
        axes = analysis.plot()
        assert len(pyplot.get_fignums()) == len(before) + 1
    pyplot.close(axes.figure)
    analysis._repr_html_()
    assert pyplot.get_fignums() == before


def test_an_analysis_shows_itself(analysis: Analysis) -> None:
    assert repr(analysis) == "<Analysis of scan-1: 3 types by VAE, window 9 px; 6 points recommended>"
    page = analysis._repr_html_()
    assert page.count("data:image/png;base64,") == 1
    assert "VAE, window 9 px: 3 types." in page
    assert repr(Analysis(make_scan(), make_unresolved())).endswith("not resolvable>")


@pytest.mark.slow
def test_the_files_of_the_command_line_can_be_written(analysis: Analysis, tmp_path: Path) -> None:
    written = analysis.save(tmp_path / "out")
    table = next(path for path in written if path.suffix == ".csv")
    assert len(list(csv.DictReader(table.read_text().splitlines()))) == len(analysis.places)


def test_a_run_is_read_with_the_result_of_each_place(tmp_path: Path) -> None:
    with History(run_with(tmp_path / "run", make_decision())) as run:
        assert repr(run).startswith(f"<History of {tmp_path / 'run'}: 1 scan, 1 decision, 3 results, ")
        assert "<table>" in run._repr_html_()
        (decision,) = run.decisions
        assert [row["status"] for row in decision.places] == ["ok", "ok", "skipped", "", "", ""]
        assert run.results[0]["coercive_V"] == 2.5
        assert run.results[0]["measured_at"] == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        assert math.isnan(run.results[2]["x_m"])
        assert run.measured[0].curves["response"].shape == (5,)
        assert run.verify() == []
        assert [e["kind"] for e in run.events("scan_received")] == ["scan_received"]
        assert run.scans[0].scan_id == "scan-1"
        assert len(run.plot("loops").lines) == 4  # two loops of a type, the mean and the axes


def test_decisions_are_found_by_number_id_and_scan(tmp_path: Path) -> None:
    with History(run_with(tmp_path / "run", make_decision())) as run:
        name = run.decisions[0].record.decision_id
        for index in (-1, name, name[:6], "scan-1"):
            assert run.decisions[index].record.decision_id == name
        assert [a.record.decision_id for a in run.decisions[:]] == [name]
        with pytest.raises(HistoryError, match=f"'d-none' matches 0 decisions; .*{name}"):
            run.decisions["d-none"]
        with pytest.raises(IndexError):
            run.decisions[1]


def test_a_run_without_decisions_and_a_folder_without_a_run_are_refused(tmp_path: Path) -> None:
    with History(run_with(tmp_path / "run")) as run, pytest.raises(HistoryError, match="no decision yet"):
        run.plot()
    with pytest.raises(HistoryError, match="there is no history"):
        History(tmp_path)


def test_an_image_is_analysed_if_its_size_is_given() -> None:
    rng = np.random.default_rng(0)
    image = np.where(np.arange(96) // 8 % 2, 1.0, 0.2)[:, None] * np.ones(96) + 0.05 * rng.standard_normal((96, 96))
    analysis = analyze(image, config=SMALL, size_m=(2e-6, 1e-6), seed=3)
    assert analysis.record.config["seed"] == 3
    assert (analysis.scan.frame.size_fast_m, analysis.scan.frame.size_slow_m) == (2e-6, 1e-6)
    same = analyze(analysis.scan, config=Config.model_validate(SMALL), seed=3)
    assert same.record.decision_id == analysis.record.decision_id


@pytest.mark.parametrize(
    ("given", "options", "message"),
    [
        (np.zeros((4, 4)), {}, "size_m"),
        (np.zeros((4, 4, 2)), {"size_m": 1e-6}, r"shape \(rows, cols\)"),
        (np.zeros((4, 4), complex), {"size_m": 1e-6}, "real numbers"),
    ],
)
def test_what_is_not_an_image_is_refused(given: np.ndarray, options: dict, message: str) -> None:
    with pytest.raises(ScanDataError, match=message):
        analyze(given, config=SMALL, **options)


def test_a_configuration_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(AgentError, match="the configuration cannot be used"):
        analyze(make_scan(), config={"search": {"workers": "two"}})
