import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from agent.config.model import load_config
from agent.decision.agent import Agent
from agent.errors import PluginError
from agent.search.plugins import is_user_defined, load_keypoints, load_reward
from agent.workers.factory import workers_for
from rewards.base import Score
from rewards.registry import REWARDS
from tests.support.data.clouds import blobs, representation

MY_LAB = """\
import numpy as np
from rewards.base import Score

def spread(representation, *, rng, weight=1.0):
    return Score(weight * float(representation.z.std()), {"n": len(representation.z)})

def corners(image, *, rng, margin_px=0):
    last = np.array(image.shape) - 1 - margin_px
    return np.array([[margin_px, margin_px], last])

class Table:
    def __call__(self, representation, *, rng):
        return Score(1.0)

table, number = Table(), 3
def no_rng(representation): ...
def needs(representation, *, rng, weight): ...
def nothing(*, rng): ...
def open_ended(representation, **options): return Score(float(options["a"]))
"""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Callable[[str, str], Path]]:
    """Function that writes a module next to the configuration file and returns its directory; cleans up afterwards."""
    modules, path = set(sys.modules), list(sys.path)

    def write(name: str = "my_lab", text: str = MY_LAB) -> Path:
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()
        return tmp_path

    yield write
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def reward_refusal(directory: Path | None, name: str, **options: object) -> str:
    with pytest.raises(PluginError) as caught:
        load_reward(name, options, directory)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_reward_of_the_users_own_lies_in_a_module_beside_the_configuration(lab: Callable[..., Path]) -> None:
    reward = load_reward("my_lab:spread", {"weight": 2.0}, lab())
    r = representation(blobs(2))
    assert reward(r, rng=np.random.default_rng(0)).value == pytest.approx(2 * r.z.std())
    assert is_user_defined("my_lab:spread")
    assert not is_user_defined("icl_gain")


def test_a_key_point_method_of_the_users_own_lies_in_a_module_beside_the_configuration(lab: Callable[..., Path]) -> None:
    method = load_keypoints("my_lab:corners", {"margin_px": 2}, lab())
    assert method(np.zeros((10, 20), np.float32), rng=np.random.default_rng(0)).tolist() == [[2, 2], [7, 17]]


def test_an_object_that_can_be_called_is_accepted(lab: Callable[..., Path]) -> None:
    assert isinstance(load_reward("my_lab:table", {}, lab())(representation(blobs(2)), rng=None), Score)
    assert load_reward("my_lab:open_ended", {"a": 3}, lab())(None, rng=None).value == 3.0


def test_an_agent_with_the_users_own_functions_starts_from_a_configuration_file(lab: Callable[..., Path]) -> None:
    path = lab() / "lab.toml"
    path.write_text('reward = "my_lab:spread"\nkeypoints = "my_lab:corners"\n[reward_options]\nweight = 3\n')
    config = load_config(path)
    with workers_for(0) as workers:
        assert Agent(config, workers).config.reward_options == {"weight": 3}


@pytest.mark.parametrize("name", REWARDS)
def test_every_reward_that_has_a_short_name_keeps_the_contract(name: str) -> None:
    assert load_reward(name, {}) is REWARDS[name]


def test_an_unknown_short_name_is_answered_with_the_known_ones() -> None:
    message = reward_refusal(None, "icl_gian")
    assert message.startswith("reward = 'icl_gian' is unknown; use one of ")
    assert "icl_gain" in message
    assert message.endswith("or 'module:function' for your own")
    with pytest.raises(
        PluginError, match="keypoints = 'cany' is unknown; use one of auto, walls, canny_walls, sato_ridges, grid, orb, sift,"
    ):
        load_keypoints("cany", {})


REFUSED = {
    "no such module": ("another_lab:spread", {}, "module 'another_lab' could not be imported: ModuleNotFoundError"),
    "no such function": ("my_lab:sprad", {}, "has no 'sprad'"),
    "no function named": ("my_lab:", {}, "has no ''"),
    "no module named": (":spread", {}, "module '' could not be imported: ValueError"),
    "a relative module": (".my_lab:spread", {}, "could not be imported: TypeError"),
    "not a function": ("my_lab:number", {}, "is of type int; it must be a function or another callable"),
    "no rng": ("my_lab:no_rng", {}, "takes no keyword 'rng'; its signature must be (representation, *, rng, ...)"),
    "unknown option": (
        "my_lab:spread",
        {"wieght": 1},
        "wieght unknown; the allowed options are: weight",
    ),
    "no options taken": ("my_lab:table", {"a": 1}, "a unknown; the allowed options are: none"),
    "what the agent gives": ("my_lab:spread", {"representation": 1}, "representation unknown; the allowed options are: weight"),
    "the agent's rng": ("my_lab:open_ended", {"rng": 1}, "cannot be called with (x, rng=..., **reward_options)"),
    "an option left out": ("my_lab:needs", {}, "missing a required argument: 'weight'"),
    "takes no representation": ("my_lab:nothing", {}, "cannot be called with (x, rng=..., **reward_options)"),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_keep_the_contract_is_refused_in_one_sentence(lab: Callable[..., Path], case: str) -> None:
    name, options, sentence = REFUSED[case]
    message = reward_refusal(lab(), name, **options)
    assert sentence in message
    assert f"'{name}'" in message


def test_a_module_that_is_missing_is_said_to_have_been_searched_in_the_folder_of_the_configuration(
    lab: Callable[..., Path],
) -> None:
    directory = lab()
    assert f"(searched the folder of the configuration file, {directory}, " in reward_refusal(directory, "another_lab:spread")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def (", "SyntaxError: invalid syntax"),
        ("import no_such_package_at_all", "ModuleNotFoundError: No module named 'no_such_package_at_all'"),
        ("raise SystemExit", "SystemExit: "),
        ("raise ValueError", "ValueError: "),
    ],
)
def test_a_module_that_fails_when_it_is_imported_is_refused_with_the_reason(
    lab: Callable[..., Path], text: str, reason: str
) -> None:
    message = reward_refusal(lab("broken_lab", text), "broken_lab:spread")
    assert f"module 'broken_lab' could not be imported: {reason}" in message


def test_a_users_file_named_like_one_of_our_modules_is_said_to_be_hidden_by_it(lab: Callable[..., Path]) -> None:
    message = reward_refusal(lab("rewards", MY_LAB), "rewards:spread")
    assert str(Path("rewards") / "__init__.py") in message
    assert "is found first; rename your file" in message


def test_a_module_that_another_one_of_its_name_hides_is_never_silently_replaced_by_it(lab: Callable[..., Path]) -> None:
    directory = lab("colorsys")
    message = reward_refusal(directory, "colorsys:rgb_to_hsv")
    assert f"{directory / 'colorsys.py'} cannot be used, since another module of the same name (" in message
    assert message.endswith("is found first; rename your file")
