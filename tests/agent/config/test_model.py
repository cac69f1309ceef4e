import re
import tomllib
from pathlib import Path

import pytest

from agent.config.model import Config, load_config
from agent.errors import ConfigError

DOCS = Path(__file__).resolve().parents[3] / "docs" / "configuration.md"


def refusal(directory: Path, text: str, **overrides: object) -> str:
    path = directory / "lab.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path, **overrides)
    message = str(caught.value)
    assert "\n" not in message
    return re.sub(rf"^{path}, line \d+: ", "", message)


REFUSED = {
    "unknown key": ("sede = 3", "'sede' is unknown; did you mean 'seed'? the allowed keys are preset, seed, channel, reward, "),
    "unknown table": ("[serach]\nseeds = 1", "'serach' is unknown; did you mean 'search'? the allowed keys are preset, seed, "),
    "unknown key in a table": (
        "[scan]\nlow = 1",
        "'scan.low' is unknown; the allowed keys are low_percentile, high_percentile, spacing_px",
    ),
    "unknown key of the training": (
        "[train]\nepochs = 1",
        "'train.epochs' is unknown; the allowed keys are steps, batch_size, learning_rate, held_out",
    ),
    "a number for a table": ("search = 3", "'search' is 3: it must be a table, [search]"),
    "text for a number": ("seed = 'one'", "'seed' is 'one': give a whole number"),
    "a consensus of nothing": (
        "[search]\nfamilies = ['polar', 'consensus']",
        "'search.families' is ['polar', 'consensus']: a consensus is built from VAEs; add 'vae'",
    ),
    "auto among others": (
        "[scan]\nchannels = ['auto', 'vector']",
        "'scan.channels' is ['auto', 'vector']: 'auto' cannot be combined with other modes; name the modes to compare",
    ),
    "options of no key-point method": (
        "keypoints = ['canny_walls', 'grid']\n[keypoints_options]\nsigma_px = 2",
        "'keypoints_options': with several key-point methods, give one table for each: canny_",
    ),
    "pixels sampled by the warp decoder": (
        "[search]\nsampled_px = 9",
        "'search.sampled_px' is 9: only the exact decoder samples pixels",
    ),
    "more pixels than a patch has": (
        "[search]\ndecoder = 'exact'\nwindows_px = [5, 7]\nsampled_px = 26",
        "'search.sampled_px' is 26: a patch of the smallest window, 5 px, has only 25 pixels",
    ),
    "a deadline of nothing": ("[search]\ndeadline_s = 0", "'search.deadline_s' is 0: give more than 0"),
    "a number for text": ("reward = 3", "'reward' is 3: give text, in quotes"),
    "half a seed": ("[search]\nseeds = 1.5", "'search.seeds' is 1.5: give a whole number"),
    "below the least": ("seed = -1", "'seed' is -1: give 0 or more"),
    "above the most": (
        "[search]\nwindows_px = [5, 99]",
        "'search.windows_px.1' is 99: give 63 or less",
    ),
    "no windows": ("[search]\nwindows_px = []", "'search.windows_px' is []: give at least 1"),
    "no invariances": ("[search]\ninvariances = []", "'search.invariances' is []: give at least 1"),
    "a window twice": ("[search]\nwindows_px = [5, 7, 5]", "'search.windows_px' is [5, 7, 5]: a value occurs twice"),
    "an invariance twice": (
        "[search]\ninvariances = ['v', 'v']",
        "'search.invariances' is ['v', 'v']: a value occurs twice",
    ),
    "an unknown invariance": (
        "[search]\ninvariances = ['x']",
        "'search.invariances.0' is 'x': give 'v', 'r', 't', 's', 'rt', 'rs', 'ts' or 'rts'",
    ),
    "no fraction": (
        "[recommend]\ncore_fraction = 0.0",
        "'recommend.core_fraction' is 0.0: give more than 0",
    ),
    "infinite in a table": ("[search]\nbetas = [1.0, inf]", "'search.betas.1' is inf: it must be a finite number"),
    "infinite in a guard": ("[guards]\nelbo_gap_per_px = inf", "'guards.elbo_gap_per_px' is inf: it must be a finite number"),
    "nan in an option": ("[reward_options]\na = [1, nan]", "'reward_options.a.1' is nan: it must be a finite number"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_invalid_value_is_named_with_what_is_allowed(tmp_path: Path, case: str) -> None:
    text, sentence = REFUSED[case]
    assert refusal(tmp_path, text).startswith(sentence)


def test_text_that_is_not_toml_is_refused_with_its_place(tmp_path: Path) -> None:
    assert re.search(r"lab.toml is not TOML: .*line 2", refusal(tmp_path, "seed = 1\nseed : 2"))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for path, reason in (
        (tmp_path / "none.toml", "there is no such file or folder; give a TOML file in UTF-8"),
        (tmp_path, "it is a folder; give a TOML file"),
    ):
        with pytest.raises(ConfigError, match=rf"{path} cannot be read: .*{reason}"):
            load_config(path)
    (tmp_path / "latin.toml").write_bytes("channel = 'µ'".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"cannot be read: it is not UTF-8 text \(byte 11\)"):
        load_config(tmp_path / "latin.toml")


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "notepad.toml"
    path.write_bytes(b"\xef\xbb\xbfseed = 5\r\n[search]\r\nseeds = 2\r\n")
    config = load_config(path)
    assert (config.seed, config.search.seeds) == (5, 2)


def test_without_a_file_all_values_are_defaults() -> None:
    assert load_config(None) == Config()
    assert load_config(None).directory is None


def test_the_command_line_takes_precedence_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "lab.toml"
    path.write_text("seed = 5\nchannel = 'Phase'")
    config = load_config(path, seed=7, channel=None)
    assert (config.seed, config.channel) == (7, "Phase")
    assert load_config(None, seed=9).seed == 9


def test_a_wrong_value_from_the_command_line_is_not_blamed_on_the_file(tmp_path: Path) -> None:
    assert refusal(tmp_path, "seed = 1", seed=-5).startswith("'seed' is -5: ")


def test_the_directory_of_the_file_is_remembered_also_in_changed_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lab.toml").write_text("seed = 5")
    monkeypatch.chdir(tmp_path)
    config = load_config(Path("lab.toml"))
    assert config.directory == tmp_path
    assert config.model_copy(update={"seed": 6}).directory == tmp_path


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Config().seed = 3


def test_the_documented_file_is_the_whole_file_with_its_defaults() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    documented = tomllib.loads(text)
    unset = {name for name, value in Config().safety if value is None}
    left_out = {"preset": True, "channel": True, "search": {"deadline_s", "dask"}, "recommend": {"points"}}
    left_out |= {"safety": unset, "approval": {"timeout_s"}}
    defaults = Config().model_dump(mode="json", exclude=left_out)
    assert documented == defaults


def test_the_papers_preset_gives_way_to_what_is_given(tmp_path: Path) -> None:
    file = tmp_path / "paper.toml"
    file.write_text('preset = "paper"\n[search]\nseeds = 5\n')
    config = load_config(file)
    assert (config.reward, config.rule.pick, config.rule.least_information) == ("icl", "best", 0.0)
    assert config.search.windows_px == tuple(range(3, 21))
    assert config.search.seeds == 5
    assert config.reward_options == {"least_components": 2}
    assert Config.model_validate(config.model_dump(mode="json")).model_dump() == config.model_dump()
    assert Config.model_validate({"preset": "paper", "reward": "spatial"}).reward_options == {}


@pytest.mark.attack(
    "The folder of the configuration holds a file that is called like an optional library",
    promise="No module of the working directory runs, in the command or in a child.",
)
def test_workers_look_into_the_configurations_folder_only_if_it_names_a_module_of_the_user(tmp_path: Path) -> None:
    plain = Config().with_directory(tmp_path)
    assert (plain.directory, plain.modules_directory) == (tmp_path, None)
    for own in ({"reward": "my_lab:silhouette"}, {"keypoints": ("grid", "my_lab:corners")}):
        assert Config(**own).with_directory(tmp_path).modules_directory == tmp_path
