"""Rewards and key-point methods by name: a short one of ours, or `module:function` of the user's own.

Names come from the local configuration only, never from the wire.
"""

import importlib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from agent.workflow.errors import PluginError
from agent.workflow.keypoints import METHODS
from rewards.registry import REWARDS


def load_reward(name: str, options: Mapping[str, Any], directory: Path | None = None) -> Callable[..., Any]:
    """The reward called `name`, with `options` bound to it."""
    return _load("reward", name, REWARDS, options, directory)


def load_keypoints(name: str, options: Mapping[str, Any], directory: Path | None = None) -> Callable[..., Any]:
    """The key-point method called `name`, with `options` bound to it."""
    return _load("keypoints", name, METHODS, options, directory)


def is_users_own(name: str) -> bool:
    """True for a name of the form `module:function`."""
    return ":" in name


def _load(
    kind: str, name: str, registry: Mapping[str, Any], options: Mapping[str, Any], directory: Path | None
) -> Callable[..., Any]:
    if is_users_own(name):
        found = _import(kind, name, directory)
    elif name in registry:
        found = registry[name]
    else:
        raise PluginError(f"{kind} = '{name}' is unknown; use one of {', '.join(registry)}, or 'module:function' for your own")
    if not callable(found):
        raise PluginError(f"{kind} = '{name}' is a {type(found).__name__}, not a function; name a callable")
    _check_options(kind, name, found, options)
    return partial(found, **options) if options else found


def _import(kind: str, name: str, directory: Path | None) -> Any:
    module_name, _, attribute = name.partition(":")
    if directory is not None and str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        where = f" (looked beside the configuration, in {directory}, and in the installed packages)" if directory else ""
        raise PluginError(f"{kind} = '{name}': module '{module_name}' could not be imported: {error}{where}") from error
    if not hasattr(module, attribute):
        raise PluginError(f"{kind} = '{name}': module '{module_name}' has no '{attribute}'")
    return getattr(module, attribute)


def _check_options(kind: str, name: str, found: Callable[..., Any], options: Mapping[str, Any]) -> None:
    try:
        parameters = signature(found).parameters
    except (TypeError, ValueError):
        return
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if not open_ended and "rng" not in parameters:
        raise PluginError(
            f"{kind} = '{name}' takes no keyword 'rng'; its signature must be ({next(iter(parameters), '...')}, *, rng, ...)"
        )
    unknown = [] if open_ended else [o for o in options if o not in parameters]
    if unknown:
        allowed = [p.name for p in parameters.values() if p.kind is p.KEYWORD_ONLY and p.name != "rng"]
        raise PluginError(
            f"{kind}_options of '{name}': {', '.join(unknown)} unknown; it takes {', '.join(allowed) or 'no options'}"
        )
