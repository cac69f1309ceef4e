"""`vaestar check-reward`: the contract of rewards, run on one of the user's own."""

from pathlib import Path

from agent.config.model import Config, load_config
from agent.errors import ConfigError, PluginError
from agent.reporting.terminal import OUT
from agent.search.plugins import load_reward
from rewards.contract import CHECKS, check_reward


def report(name: str | None, config_path: Path | None) -> bool:
    """Whether a reward keeps the contract; says on the terminal what it breaks, a sentence each.

    Parameters
    ----------
    name
        A short name or `module:function`, looked for beside the configuration, or in the working directory. By default the
        configuration's.
    config_path
        Gives the reward its options.

    Raises
    ------
    ConfigError
        If neither names a reward, or the configuration is for another one.
    """
    config = Config() if config_path is None else load_config(config_path)
    if name is None and config_path is None:
        raise ConfigError(
            "no reward to check; name one, such as my_lab:silhouette, or the configuration that does, with --config"
        )
    if name is not None and config_path is not None and name != config.reward:
        raise ConfigError(f"{config_path} has options for reward = '{config.reward}', not for '{name}'; name that one, or none")
    name = name or config.reward
    options = {} if config_path is None else config.reward_options
    try:
        reward = load_reward(name, options, config.directory or Path.cwd())
    except PluginError as error:
        _say(f"breaks   {'signature':<14}  {error}")
        return False
    found = check_reward(reward)
    for violation in found:
        _say(f"{'warning' if violation.warning else 'breaks ':<7}  {violation.check:<14}  {violation.sentence}")
    broken = [v for v in found if not v.warning]
    kept = f"keeps the contract ({len(CHECKS)} checks)"
    _say(f"reward '{name}' " + (kept if not broken else f"breaks the contract in {len(broken)} of {len(CHECKS)} checks"))
    return not broken


def _say(line: str) -> None:
    OUT.print(line, highlight=False, markup=False, soft_wrap=True)
