"""`analyze`: a scan in, what was decided on it out, as one call for notebooks and scripts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agent.config.model import Config, load_config
from agent.decision.agent import Agent
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
    """Where to measure on a scan, and why.

    Parameters
    ----------
    scan
        A scan, a file that holds one (`.ibw`, NSID `.h5`), or an image of shape (rows, cols).
    config
        Choices: a TOML file, a mapping as it would hold, or a `Config`; by default the defaults.
    channel, seed
        In place of the configuration's.
    deadline_s
        Decide with what is complete by then.
    size_m
        Of an image: its sides along x (columns) and y (rows) in metres, or one number for both.

    Raises
    ------
    AgentError, AdapterError
        With one sentence, for anything that cannot be used.
    """
    settings = _settings(config, channel=channel, seed=seed).with_search(deadline_s=deadline_s)
    given = _scan(scan, size_m)
    given.find_channel(settings.channel)
    search = settings.search
    out_of_time = None if search.deadline_s is None else deadline(search.deadline_s)
    with workers_for(search.workers, settings.directory, search.dask) as workers, search_progress() as progress:
        return Analysis(given, Agent(settings, workers).on_scan(given, progress=progress, out_of_time=out_of_time))


def _settings(config: Config | Path | str | Mapping[str, Any] | None, **given: Any) -> Config:
    if config is None or isinstance(config, Path | str):
        return load_config(None if config is None else Path(config), **given)
    given = {key: value for key, value in given.items() if value is not None}
    raw = config.model_dump(exclude_unset=True) if isinstance(config, Config) else dict(config)
    try:
        made = Config.model_validate(raw | given)
    except ValueError as error:
        raise ConfigError(f"the configuration cannot be used: {error}") from error
    if isinstance(config, Config):
        made._directory = config.directory
    return made


def _scan(scan: Scan | Path | str | np.ndarray, size_m: float | tuple[float, float] | None) -> Scan:
    if isinstance(scan, Scan):
        return scan
    if not isinstance(scan, np.ndarray):
        return read_scan(scan)
    if scan.ndim != 2 or not np.issubdtype(scan.dtype, np.number) or np.iscomplexobj(scan):
        raise ScanDataError(f"an image has shape (rows, cols) and real numbers, got {scan.shape} of {scan.dtype}")
    if size_m is None:
        raise ScanDataError("an image does not say how large it is; give size_m, its sides in metres, such as size_m=5e-6")
    fast_m, slow_m = size_m if isinstance(size_m, tuple) else (size_m, size_m)
    frame = Frame(size_fast_m=fast_m, size_slow_m=slow_m, rows=scan.shape[0], cols=scan.shape[1])
    return Scan({"Amplitude": scan.astype(np.float32)}, {"Amplitude": ""}, frame, scan_id="image")
