import os
import signal
import subprocess
import sys

import pytest

from simulators.__main__ import _parser, instrument_config, main
from simulators.faults.catalogue import FAULTS
from simulators.faults.options import fault_schedule
from simulators.faults.schedule import FaultSchedule, Injection

CONNECT = ["--connect", "tcp://127.0.0.1:5555"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--connect"),
        (["--connect", "localhost"], "not an address"),
        ([*CONNECT, "--fault", "blunt"], "there is no fault 'blunt'; did you mean blunting?"),
        ([*CONNECT, "--fault", "crash@1:300"], "a frame has lines 0 to 255"),
        ([*CONNECT, "--fault", "crash@3", "--first-scan", "7"], "the first scan is 7"),
        ([*CONNECT, "--fault-rate", "often"], "'often' is not a rate; give a rate such as 0.5 or probe=0.5"),
        ([*CONNECT, "--fault-rate", "probe=-1"], "0 to 100 are allowed"),
        (
            [*CONNECT, "--sealed-log", "/nowhere/at/all.jsonl"],
            "the sealed log /nowhere/at/all.jsonl cannot be written: there is no such file or folder; give another file",
        ),
        ([*CONNECT, "--speed", "-3"], "a factor above 0"),
        ([*CONNECT, "--speed", "fast"], "not a finite number"),
        ([*CONNECT, "--pixels", "1"], "from 2 to 2048"),
        ([*CONNECT, "--cycles", "many"], "of at least 0"),
        ([*CONNECT, "--size-um", "100"], "0.1 to 20 um"),
        ([*CONNECT, "--seed", "-1"], "of at least 0"),
        ([*CONNECT, "--instrument-id", "two words"], "pattern"),
        ([*CONNECT, "--tier", "impossible"], "choose from"),
        ([*CONNECT, "--size-um", "20"], "at most 20.0 um/s is allowed"),
    ],
)
def test_bad_input_ends_with_code_2_and_says_what_is_allowed(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert says in capsys.readouterr().err


def test_the_command_line_reaches_the_configuration() -> None:
    words = "--pixels 64 --size-um 4 --angle-deg 45 --points-max 7 --instrument-id afm2 --seed 3 --speed 60 --no-latency"
    arguments = _parser().parse_args([*CONNECT, *words.split()])
    config = instrument_config(arguments)
    assert arguments.speed == 60.0
    assert (config.frame.rows, config.frame.size_fast_m, config.instrument_id) == (64, pytest.approx(4e-6), "afm2")
    assert (config.limits.points_max, config.seed, config.charge_latency) == (7, 3, False)
    assert config.surface.size_m > 4e-6 * 2**0.5


def test_a_tier_sets_sample_and_probe_in_any_frame() -> None:
    config = instrument_config(_parser().parse_args([*CONNECT, "--tier", "stripes", "--size-um", "4"]))
    assert config.surface.c_minus_share == config.surface.needle_share == 0
    assert config.surface.size_m == pytest.approx(1.2 * 4e-6)
    assert instrument_config(_parser().parse_args([*CONNECT, "--tier", "clean"])).dart.tip_m < config.dart.tip_m


def test_faults_are_listed_with_group_and_meaning(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--list-faults"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(FAULTS)
    assert "crash                     probe      The tip breaks" in "\n".join(lines)


def scheduled(words: list[str]) -> FaultSchedule:
    arguments = _parser().parse_args([*CONNECT, *words])
    return fault_schedule(arguments, instrument_config(arguments))


def test_faults_and_rates_reach_the_schedule_which_follows_the_seed() -> None:
    words = "--fault crash@2:9 --fault lost_ack@point:4 --fault-rate probe=1 --fault-rate 0.5 --seed"
    schedules = [scheduled([*words.split(), seed]) for seed in ("3", "3", "4")]
    assert schedules[0] == schedules[1] != schedules[2]
    assert schedules[0].injections == (Injection("crash", 2, 9), Injection("lost_ack", point=4))
    assert schedules[0].rates["crash"] == pytest.approx(1 / 6 + 0.5 / len(FAULTS))
    assert scheduled([]).possible == frozenset()


@pytest.mark.parametrize(("word", "speed"), [("event", None), ("real", 1.0), ("60", 60.0)])
def test_speeds_have_names(word: str, speed: float | None) -> None:
    assert _parser().parse_args([*CONNECT, "--speed", word]).speed == speed


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to handle")
def test_a_signal_ends_it_in_order() -> None:
    command = [sys.executable, "-m", "simulators", "--connect", "tcp://127.0.0.1:9", "--pixels", "16", "--speed", "real"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "growing" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        message = process.stderr.read()
    assert process.returncode == 0, message


@pytest.mark.slow
def test_importing_the_simulators_never_imports_torch() -> None:
    program = (
        "import sys, pkgutil, importlib, simulators\n"
        "for module in pkgutil.walk_packages(simulators.__path__, 'simulators.'):\n"
        "    importlib.import_module(module.name)\n"
        "unwanted = {'torch', 'pyro', 'sklearn', 'skimage', 'agent', 'rewards', 'zmq', 'matplotlib'} & set(sys.modules)\n"
        "sys.exit(str(unwanted) if unwanted else 0)\n"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=dict(os.environ), check=False)
    assert finished.returncode == 0, finished.stderr
