"""`python -m instrument_adapters replay`: options, and one-sentence messages about invalid ones."""

from pathlib import Path

import pytest

from instrument_adapters.__main__ import main
from instrument_adapters.client import ClientReport
from instrument_adapters.replay import command as replay_command
from tests.support.data.recordings import write_films, write_scan

HERE = ["--connect", "tcp://127.0.0.1:5555"]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["nowhere", *HERE], "there is no file or folder nowhere; give a scan file"),
        (["mexpsimu:9um", *HERE], "mexpsimu has no film '9um'; it has 1d3um, 1d7um, 3um"),
        (["mexpsimu", "--data", "nowhere", *HERE], "PTO_BEPS_1d3um.npz is missing; fetch mexpsimu with: make reference"),
        (["mexpsimu"], "the following arguments are required: --connect"),
        (["mexpsimu", "--connect", "localhost"], "'localhost' is not an address; give one such as tcp://127.0.0.1:5555"),
        (["mexpsimu", "--speed", "0", *HERE], "0 is not a speed; give 'event', 'real' or a factor above 0"),
        (["mexpsimu", "--cycles", "-1", *HERE], "'-1' is not allowed; give a whole number of at least 0"),
        (["mexpsimu", "--first-scan", "0", *HERE], "'0' is not allowed; give a whole number of at least 1"),
        (["mexpsimu", "--farthest-nm", "-3", *HERE], "-3 is negative; give 0 or more"),
        (["mexpsimu", "--farthest-nm", "far", *HERE], "'far' is not a finite number"),
        (["mexpsimu", "--sample-id", "a b", *HERE], "'a b' is not a valid name; give 1 to 64 letters"),
    ],
)
def test_bad_input_ends_in_one_sentence(given: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["replay", *given])
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert sentence in last


@pytest.mark.parametrize("given", [[], ["play"]])
def test_another_command_is_refused_with_those_that_are_known(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(given) == 2
    assert "give one of: folder, mfp3d, replay" in capsys.readouterr().err


@pytest.mark.parametrize(("more", "cycles"), [([], 3), (["--cycles", "5"], 5), (["--cycles", "0"], None)])
def test_each_recording_comes_once_unless_more_are_asked_for(
    more: list[str], cycles: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {}

    def run_client(instrument, address, **options):
        asked.update(options, address=address, instrument=instrument)
        return ClientReport()

    monkeypatch.setattr("instrument_adapters.client.run_client", run_client)
    monkeypatch.setattr("instrument_adapters.client.stop_on_signals", lambda stop: None)
    write_films(tmp_path)
    given = ["mexpsimu", "--data", str(tmp_path), "--speed", "20", "--instrument-id", "films", "--points-max", "7", *HERE, *more]
    assert main(["replay", *given]) == 0
    assert (asked["cycles"], asked["address"]) == (cycles, "tcp://127.0.0.1:5555")
    replay = asked["instrument"]
    assert (replay.instrument_id, replay.model, replay.pace.speed, replay.limits.points_max) == (
        "films",
        "Replay of mexpsimu",
        20.0,
        7,
    )


def test_a_name_that_the_wire_cannot_carry_is_shortened_for_the_model(tmp_path: Path) -> None:
    path = write_scan(tmp_path / f"{'x' * 100}.ibw", 3.8e9)
    assert replay_command._model_name(str(path)) == "x" * 48
