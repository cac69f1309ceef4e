"""`vaestar adapter folder|mfp3d`: options, settings files, and the messages for invalid ones."""

import json
import logging
import sys
from pathlib import Path

import pytest

from instrument_adapters.__main__ import COMMANDS, main
from instrument_adapters.client import ClientReport
from instrument_adapters.command_line.agent_options import configure_logging
from instrument_adapters.errors import InstrumentFaultError
from instrument_adapters.folder.instrument import WatchedFolder
from instrument_adapters.mfp3d import command as mfp3d_command
from instrument_adapters.mfp3d import igor_transport as mfp3d_igor
from instrument_adapters.mfp3d.driver import MFP3D
from tests.instrument_adapters.mfp3d.test_driver import CALIBRATION, Bench

HERE = ["--connect", "tcp://127.0.0.1:5555"]
PAGE = (Path(__file__).resolve().parents[3] / "docs" / "mfp3d.md").read_text(encoding="utf-8")
TOML = PAGE.split("```toml\n")[1].split("```")[0]


@pytest.fixture(autouse=True)
def _quiet_again():
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict:
    """Arguments with which the client was started."""
    seen: dict = {}

    def run_client(instrument, address, **options):
        seen.update(options, address=address, instrument=instrument)
        return ClientReport()

    monkeypatch.setattr("instrument_adapters.client.run_client", run_client)
    monkeypatch.setattr("instrument_adapters.client.stop_on_signals", lambda stop: None)
    return seen


def test_help_lists_the_adapters(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    output = capsys.readouterr().out
    assert all(name in output for name in COMMANDS)
    assert "never tried on a real one" in output


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_adapter_lists_its_options(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    output = capsys.readouterr().out
    shared = ("--connect", "--spool", "--key", "--agent-key", "--cycles", "--instrument-id", "--log-format")
    assert all(option in output for option in shared)


def test_the_help_of_the_mfp3d_says_that_it_was_never_tried(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["mfp3d", "--help"])
    assert "NEVER tried on a real instrument" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["{0}/none", *HERE], "there is no folder"),
        (["{0}"], "the following arguments are required: --connect"),
        (["{0}", "--connect", "here"], "'here' is not an address"),
        (["{0}", "--outbox", "{0}", *HERE], "lies inside the watched folder, to which nothing is ever written"),
        (["{0}", "--outbox", "{0}/out", *HERE], "lies inside the watched folder, to which nothing is ever written"),
        (["{0}", "--zone", "Moon", *HERE], "'Moon' is not a time zone"),
        (["{0}", "--existing", "some", *HERE], "invalid choice: 'some'"),
        (["{0}", "--wait-results", "-1", *HERE], "-1 is negative; give 0 or more"),
        (["{0}", "--range-um", "0", *HERE], "give a number above 0"),
        (["{0}", "--sample-id", "a b", *HERE], "'a b' is not a valid name"),
        (["{0}", "--key", "k", *HERE], "an encrypted connection needs both keys"),
    ],
)
def test_bad_input_for_a_folder_ends_in_one_sentence(
    given: list[str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["folder", *(g.format(tmp_path) for g in given)])
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err.splitlines()[-1]


def test_a_folder_is_what_the_options_say(tmp_path: Path, asked: dict) -> None:
    scans = tmp_path / "scans"
    scans.mkdir()
    more = [
        "--instrument-id",
        "afm-7",
        "--range-um",
        "20",
        "--points-max",
        "5",
        "--cycles",
        "3",
        "--outbox",
        str(tmp_path / "out"),
    ]
    assert main(["folder", str(scans), "--outbox", str(tmp_path / "out"), *HERE, *more]) == 0
    instrument = asked["instrument"]
    assert isinstance(instrument, WatchedFolder)
    limits = instrument.limits
    assert (instrument.instrument_id, limits.x_min_m, limits.points_max) == ("afm-7", pytest.approx(-20e-6), 5)
    assert (asked["address"], asked["cycles"], asked["keys"]) == ("tcp://127.0.0.1:5555", 3, None)
    assert not (tmp_path / "out").exists(), "nothing is made before it is needed"


def settings(tmp_path: Path, text: str = TOML, **changes: str) -> Path:
    """The settings file of the documentation, with paths of this computer and changed values."""
    program = tmp_path / "Igor.exe"
    program.touch()
    (tmp_path / "data").mkdir(exist_ok=True)
    paths = {"program": program, "saves_to": tmp_path / "data", "workspace": tmp_path / "igor"}
    lines = []
    for line in text.splitlines():
        key = line.split(" = ")[0]
        value = changes.pop(key, None) or (f"'{paths[key].as_posix()}'" if key in paths else None)
        lines.append(line if value is None else f"{key} = {value}")
    path = tmp_path / "lab.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rows": "1"}, "{0}/lab.toml, line 20: 'mfp3d.frame.rows' is '1': give 2 or more"),
        ({"drive_V": "'much'"}, "'mfp3d.drive_V' is 'much': give a number"),
        ({"drive_V": "nan"}, "'mfp3d.drive_V' is nan: it must be a finite number"),
        ({"drive_V": "2.0\ncolour = 1"}, "'mfp3d.colour' is unknown; allowed here are instrument_id, sample_id"),
        ({"zone": "'Moon'"}, "'igor.zone' is 'Moon': 'Moon' is not a time zone"),
        ({"zone": ""}, "'igor.zone'"),
        ({"drive_V": "9.0"}, "the drive amplitude is set to 9 V, at most 3 V is allowed"),
        ({"size_fast_m": "2e-4"}, "the stage's range is -45.0 to 45.0 um"),
        ({"rows": "= 3"}, "the settings file {0}/lab.toml is not valid TOML"),
    ],
)
def test_bad_settings_end_in_one_sentence(
    changes: dict[str, str], sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if changes == {"zone": ""}:
        path = settings(tmp_path, TOML.replace('zone = "local"', "zone = 3"))
    else:
        path = settings(tmp_path, **changes)
    with pytest.raises(SystemExit) as ended:
        main(["mfp3d", "--settings", str(path), "--check"])
    assert ended.value.code == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert sentence.format(tmp_path) in error
    assert not sentence.startswith("'") or f"{tmp_path}/lab.toml, line " in error


def test_a_missing_settings_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path, sentence in ((tmp_path / "no.toml", "cannot be read"), (settings(tmp_path, "[igor]\n"), "'igor.program'")):
        with pytest.raises(SystemExit):
            main(["mfp3d", "--settings", str(path), "--check"])
        assert sentence in capsys.readouterr().err.splitlines()[-1]


def test_an_agent_is_needed_unless_only_a_check_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["mfp3d", "--settings", str(settings(tmp_path))])
    assert "required: --connect (or --check)" in capsys.readouterr().err


@pytest.mark.parametrize(("missing", "sentence"), [("Igor.exe", "there is no program"), ("data", "cannot be read")])
def test_what_is_missing_on_the_computer_is_named(
    missing: str, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = settings(tmp_path)
    (tmp_path / missing).rename(tmp_path / "elsewhere")
    assert main(["mfp3d", "--settings", str(path), "--check"]) == 1
    assert sentence in capsys.readouterr().err.splitlines()[-1]


def test_a_check_sets_nothing_and_moves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = Bench(tmp_path / "data")
    monkeypatch.setattr(mfp3d_command, "IgorTransport", lambda *_, **__: bench)
    assert main(["mfp3d", "--settings", str(settings(tmp_path)), "--check"]) == 0
    assert bench.commands == []
    x_um = 1e6 * (0.0 - CALIBRATION["XLVDTOffset"]) * 8e-6
    assert f"settings are valid and Igor answers: the tip is at ({x_um:.3f}," in capsys.readouterr().err


@pytest.mark.slow
def test_an_igor_that_does_not_answer_ends_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def transport(*_: object, **__: object) -> mfp3d_igor.IgorTransport:
        quiet = [sys.executable, "-S", "-c", ""]
        return mfp3d_igor.IgorTransport(tmp_path, tmp_path / "data", tmp_path, deadline_s=0.3, launch=quiet)

    monkeypatch.setattr(mfp3d_command, "IgorTransport", transport)
    assert main(["mfp3d", "--settings", str(settings(tmp_path)), "--check"]) == 1
    assert "Igor did not answer GV" in capsys.readouterr().err.splitlines()[-1]


def test_the_mfp3d_works_for_an_agent_and_computes_parameters_of_its_loops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: dict
) -> None:
    monkeypatch.setattr(mfp3d_command, "IgorTransport", lambda *_, **__: Bench(tmp_path / "data"))
    assert main(["mfp3d", "--settings", str(settings(tmp_path)), *HERE, "--instrument-id", "lab-9"]) == 0
    instrument = asked["instrument"]
    assert isinstance(instrument, MFP3D)
    assert (instrument.instrument_id, asked["cycles"]) == ("lab-9", None)
    with pytest.raises(InstrumentFaultError, match="no loop was recorded"):
        instrument._analyse([0.0], [0.0])


def test_an_adapter_can_log_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json")
    logging.getLogger("lab").warning("the %s is near", "tip")
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["from"], line["sentence"]) == ("warning", "lab", "the tip is near")
    assert line["at"].endswith("+00:00")


def test_an_error_of_the_client_is_logged_and_ends_with_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_client(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("instrument_adapters.client.run_client", run_client)
    monkeypatch.setattr("instrument_adapters.client.stop_on_signals", lambda stop: None)
    assert main(["folder", str(tmp_path), *HERE]) == 1
    assert "No space left on device" in capsys.readouterr().err.splitlines()[-1]
