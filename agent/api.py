"""`analyze`: one call for notebooks and scripts that takes a scan and returns the decision on it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agent.config.model import Config, load_config
from agent.decision.agent import Agent
from agent.decision.inputs import DecisionInputs, SearchControl
from agent.errors import ConfigError
from agent.reporting.notebook import Analysis
from agent.reporting.terminal import search_progress
from agent.search.task_runner import deadline
from agent.workers.factory import workers_for
from instrument_adapters.errors import ScanDataError
from instrument_adapters.formats.scan_file import read_scan
from instrument_adapters.geometry import Frame
from instrument_adapters.scan import Scan


def analyze(
    scan: Scan | Path | str | np.ndarray,
    *,
    config: Config | Path | str | Mapping[str, Any] | None = None,
    channel: str | None = None,
    seed: int | None = None,
    deadline_s: float | None = None,
    size_m: float | tuple[float, float] | None = None,
) -> Analysis:
    """Decide where to measure on a scan, and return the decision with its explanation, tables and figures.

    Parameters
    ----------
    scan
        Scan, path of a scan file (`.ibw`, NSID `.h5`, `.hdf5`, `.hf5`), or image of shape (rows, cols).
    config
        Configuration: path of a TOML file, mapping with the same keys, or `Config`. None uses the defaults.
    channel
        Name of the channel to analyse; replaces the one of the configuration.
    seed
        Seed of all random draws; replaces the one of the configuration.
    deadline_s
        Time limit in seconds; the decision is then based on the last complete rung.
    size_m
        Sides of an image along x (columns) and y (rows) in metres, or one number for both.

    Raises
    ------
    AgentError, AdapterError
        If the scan, the configuration or an argument cannot be used.
    """
    settings = _settings(config, channel=channel, seed=seed).with_search(deadline_s=deadline_s)
    loaded = _loaded(scan, size_m)
    loaded.find_channel(settings.channel)
    search = settings.search
    out_of_time = None if search.deadline_s is None else deadline(search.deadline_s)
    with workers_for(search.workers, settings.modules_directory, search.dask) as workers, search_progress() as progress:
        return Analysis(
            loaded,
            Agent(settings, workers).decide(DecisionInputs(loaded), SearchControl(progress=progress, out_of_time=out_of_time)),
        )


def _settings(config: Config | Path | str | Mapping[str, Any] | None, **overrides: Any) -> Config:
    if config is None or isinstance(config, Path | str):
        return load_config(None if config is None else Path(config), **overrides)
    overrides = {key: value for key, value in overrides.items() if value is not None}
    raw = config.model_dump(exclude_unset=True) if isinstance(config, Config) else dict(config)
    try:
        settings = Config.model_validate(raw | overrides)
    except ValueError as error:
        raise ConfigError(f"the configuration cannot be used: {error}") from error
    if isinstance(config, Config):
        settings._directory = config.directory
    return settings


def _loaded(scan: Scan | Path | str | np.ndarray, size_m: float | tuple[float, float] | None) -> Scan:
    if isinstance(scan, Scan):
        return scan
    if not isinstance(scan, np.ndarray):
        return read_scan(scan)
    if scan.ndim != 2 or not np.issubdtype(scan.dtype, np.number) or np.iscomplexobj(scan):
        raise ScanDataError(
            f"an image must have shape (rows, cols) and real numbers, but this array has shape {scan.shape} and type {scan.dtype}"
        )
    if size_m is None:
        raise ScanDataError("an image does not state its size; give its sides in metres, such as size_m=5e-6")
    fast_m, slow_m = size_m if isinstance(size_m, tuple) else (size_m, size_m)
    frame = Frame(size_fast_m=fast_m, size_slow_m=slow_m, rows=scan.shape[0], cols=scan.shape[1])
    return Scan({"Amplitude": scan.astype(np.float32)}, {"Amplitude": ""}, frame, scan_id="image")
