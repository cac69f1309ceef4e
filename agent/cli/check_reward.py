"""`vaestar check-reward`: checks a user's reward against the contract of rewards."""

from pathlib import Path

from agent.config.model import Config, load_config
from agent.errors import ConfigError, PluginError
from agent.reporting.terminal import print_line
from agent.search.plugins import load_reward
from rewards.contract import CHECKS, check_reward


def report(name: str | None, config_path: Path | None) -> bool:
    """Check a reward, print each violation in a sentence, and return whether it satisfies the contract.

    Parameters
    ----------
    name
        Short name or `module:function`, imported from the folder of the configuration or the working directory. By default
        the reward of the configuration.
    config_path
        Configuration file with the options of the reward.

    Raises
    ------
    ConfigError
        If neither argument names a reward, or the configuration is for another one.
    """
    config = Config() if config_path is None else load_config(config_path)
    if name is None and config_path is None:
        raise ConfigError(
            "no reward to check; give one, such as my_lab:silhouette, or a configuration that names one, with --config"
        )
    if name is not None and config_path is not None and name != config.reward:
        raise ConfigError(f"{config_path} has options for reward = '{config.reward}', not for '{name}'; give that name, or none")
    name = name or config.reward
    options = {} if config_path is None else config.reward_options
    try:
        reward = load_reward(name, options, config.directory or Path.cwd())
    except PluginError as error:
        print_line(f"breaks   {'signature':<14}  {error}")
        return False
    violations = check_reward(reward)
    for violation in violations:
        print_line(f"{'warning' if violation.warning else 'breaks ':<7}  {violation.check:<14}  {violation.sentence}")
    broken = [v for v in violations if not v.warning]
    kept = f"keeps the contract ({len(CHECKS)} checks)"
    print_line(f"reward '{name}' " + (kept if not broken else f"breaks the contract in {len(broken)} of {len(CHECKS)} checks"))
    return not broken
