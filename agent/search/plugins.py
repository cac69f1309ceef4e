"""Loads rewards and key-point methods by name: the short name of a built-in one, or `module:function` of a user-defined one.

Names come from the local configuration only, never from a message.
"""

import importlib
import sys
from collections.abc import Callable, Mapping
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

from agent.errors import PluginError
from agent.preprocessing.keypoints import METHODS
from rewards.registry import REWARDS


def load_reward(name: str, options: Mapping[str, Any], directory: Path | None = None) -> Callable[..., Any]:
    """The reward with this name, with `options` bound to it."""
    return _load("reward", name, REWARDS, options, directory)


def load_keypoints(name: str, options: Mapping[str, Any], directory: Path | None = None) -> Callable[..., Any]:
    """The key-point method with this name, with `options` bound to it."""
    return _load("keypoints", name, METHODS, options, directory)


def is_user_defined(name: str) -> bool:
    """True for a name of the form `module:function`."""
    return ":" in name


def _load(
    kind: str, name: str, registry: Mapping[str, Any], options: Mapping[str, Any], directory: Path | None
) -> Callable[..., Any]:
    if is_user_defined(name):
        found = _import(kind, name, directory)
    elif name in registry:
        found = registry[name]
    else:
        raise PluginError(f"{kind} = '{name}' is unknown; use one of {', '.join(registry)}, or 'module:function' for your own")
    if not callable(found):
        raise PluginError(f"{kind} = '{name}' is of type {type(found).__name__}; it must be a function or another callable")
    _check_options(kind, name, found, options)
    return partial(found, **options) if options else found


def _import(kind: str, name: str, directory: Path | None) -> Any:
    module_name, _, attribute = name.partition(":")
    if directory is not None and str(directory) not in sys.path:
        sys.path.append(str(directory))
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # importing a script may call sys.exit
        where = f" (searched the folder of the configuration file, {directory}, and the installed packages)" if directory else ""
        reason = f"{type(error).__name__}: {error}"
        raise PluginError(f"{kind} = '{name}': module '{module_name}' could not be imported: {reason}{where}") from error
    file = getattr(module, "__file__", None) or "built in"
    local = _local_file(module_name, directory)
    if local is not None and local != Path(file).resolve():
        reason = f"{local} cannot be used, since another module of the same name ({file}) is found first; rename your file"
        raise PluginError(f"{kind} = '{name}': {reason}")
    if not hasattr(module, attribute):
        raise PluginError(f"{kind} = '{name}': module '{module_name}' ({file}) has no '{attribute}'")
    return getattr(module, attribute)


def _local_file(module_name: str, directory: Path | None) -> Path | None:
    """The module's file in the folder of the configuration file; None if there is none."""
    if directory is None:
        return None
    path = directory.resolve().joinpath(*module_name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _check_options(kind: str, name: str, found: Callable[..., Any], options: Mapping[str, Any]) -> None:
    try:
        form = signature(found)
    except (TypeError, ValueError):
        return
    parameters = form.parameters
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if not open_ended and "rng" not in parameters:
        raise PluginError(
            f"{kind} = '{name}' takes no keyword 'rng'; its signature must be ({next(iter(parameters), '...')}, *, rng, ...)"
        )
    allowed = [p.name for p in list(parameters.values())[1:] if p.kind is not p.VAR_POSITIONAL and p.name != "rng"]
    unknown = [] if open_ended else [o for o in options if o not in allowed]
    if unknown:
        raise PluginError(
            f"{kind}_options of '{name}': {', '.join(unknown)} unknown; the allowed options are: {', '.join(allowed) or 'none'}"
        )
    try:
        form.bind(None, rng=None, **options)
    except TypeError as error:
        raise PluginError(f"{kind} = '{name}' cannot be called with (x, rng=..., **{kind}_options): {error}") from error
