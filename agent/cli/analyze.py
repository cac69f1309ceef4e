"""`vaestar analyze`: one recorded scan in, a decision with its files out."""

import sys
from pathlib import Path

from agent.config.model import load_config
from instrument_adapters.formats.scan_file import read_scan


def analyze_file(
    path: Path,
    out: Path,
    *,
    channel: str | None,
    seed: int | None,
    config_path: Path | None,
    as_json: bool,
    deadline_s: float | None = None,
    dask: str | None = None,
) -> None:
    """Decide where to measure on the scan in `path`, write the decision to `out` and show it.

    Raises
    ------
    AgentError, AdapterError
        With one sentence, for any input that cannot be used; then nothing is written.
    """
    config = load_config(config_path, channel=channel, seed=seed).with_search(deadline_s=deadline_s, dask=dask)
    scan = read_scan(path)
    scan.find_channel(config.channel)
    try:
        out.mkdir(parents=True, exist_ok=True)  # before a minute of training, not after it
    except OSError as error:
        from agent.errors import ReportError

        raise ReportError(f"results cannot be written to {out}: {error}; choose another directory with --out") from error
    # What computes takes a second or two to load: only once the input is known to be readable.
    from agent.decision.agent import Agent
    from agent.reporting.decision_files import write_report
    from agent.reporting.terminal import ERR, OUT, cluster_table, search_progress
    from agent.search.task_cache import TaskCache
    from agent.search.task_runner import deadline
    from agent.workers.factory import workers_for

    work, search = TaskCache(out / ".work"), config.search
    out_of_time = None if search.deadline_s is None else deadline(search.deadline_s)
    with workers_for(search.workers, config.directory, search.dask) as workers, search_progress() as progress:
        decision = Agent(config, workers).on_scan(scan, store=work, progress=progress, out_of_time=out_of_time)
    files = write_report(scan, decision, out)
    work.clear()
    record = decision.record
    if as_json:
        sys.stdout.write(record.model_dump_json(indent=2) + "\n")
    else:
        if record.clusters:
            OUT.print(cluster_table(record))
        OUT.print(record.explanation, highlight=False, markup=False)
        OUT.print(f"{len(files)} files in {out}", highlight=False, markup=False)
    if record.outcome in ("not_resolvable", "bad_scan"):
        ERR.print("vaestar: no place is recommended on this scan", highlight=False)
