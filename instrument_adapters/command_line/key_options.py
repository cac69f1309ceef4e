"""`--key` and `--agent-key`, for every command that connects to an agent."""

import argparse
from pathlib import Path

from instrument_adapters.protocol.curve_keys import ClientKeys, KeyFileError, load_pair, load_public


def add_key_options(parser: argparse.ArgumentParser) -> None:
    """Add the options `--key` and `--agent-key`."""
    parser.add_argument(
        "--key", type=Path, metavar="FILE", help="secret key of this instrument (NAME.key_secret, made by vaestar keygen)"
    )
    parser.add_argument("--agent-key", type=Path, metavar="FILE", help="public key of the agent (NAME.key)")


def client_keys(arguments: argparse.Namespace) -> ClientKeys | None:
    """Keys given on the command line; None if there are none.

    Raises
    ------
    KeyFileError
        If only one of the two is given, or a file does not hold the key.
    """
    if arguments.key is None and arguments.agent_key is None:
        return None
    if arguments.key is None or arguments.agent_key is None:
        raise KeyFileError(
            "an encrypted connection needs both keys; give --key (this instrument's) and --agent-key (the agent's)"
        )
    return ClientKeys(load_pair(arguments.key), load_public(arguments.agent_key))
