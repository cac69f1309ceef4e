"""`vaestar analyze`: a decision on one recorded scan, with figures and tables."""

from pathlib import Path

from agent.config.model import load_config
from instrument_adapters.command_line.output import flush_output, write_json
from instrument_adapters.errors import plain_reason
from instrument_adapters.formats.scan_file import read_scan
from instrument_adapters.plain_text import visible


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
    """Decide where to measure on the scan in `path`, write the results to `out` and print the decision.

    Raises
    ------
    AgentError, AdapterError
        If an input cannot be used, and nothing is written; or at the end, if figures are missing (`IncompleteError`).
    """
    config = load_config(config_path, channel=channel, seed=seed).with_search(deadline_s=deadline_s, dask=dask)
    scan = read_scan(path)
    scan.find_channel(config.channel)
    try:
        out.mkdir(parents=True, exist_ok=True)  # fail before the training, not after it
    except OSError as error:
        from agent.errors import ReportError

        raise ReportError(
            f"results cannot be written to {out}: {plain_reason(error)}; choose another directory with --out"
        ) from error
    # These imports take a second or two, so the input is checked first.
    from agent.decision.agent import Agent
    from agent.decision.inputs import DecisionInputs, SearchControl
    from agent.errors import IncompleteError
    from agent.reporting.decision_files import write_decision, write_figures
    from agent.reporting.terminal import ERR, OUT, cluster_table, print_line, search_progress
    from agent.search.task_cache import TaskCache
    from agent.search.task_runner import deadline
    from agent.workers.factory import workers_for

    work, search = TaskCache(out / ".work"), config.search
    out_of_time = None if search.deadline_s is None else deadline(search.deadline_s)
    with workers_for(search.workers, config.modules_directory, search.dask) as workers, search_progress() as progress:
        decision = Agent(config, workers).decide(
            DecisionInputs(scan), SearchControl(progress=progress, out_of_time=out_of_time), cache=work
        )
    record = decision.record
    try:
        files = write_decision(record, out)
    finally:  # a decision that cannot be written is shown all the same
        if as_json:
            write_json(record.model_dump(mode="json"))
        else:
            if record.clusters:
                OUT.print(cluster_table(record))
            OUT.print(visible(record.explanation))
        flush_output()
    figures = write_figures(scan, decision, out)
    work.clear()
    if not as_json:
        print_line(f"{len(files) + len(figures.files)} files in {out}")
    if record.outcome in ("not_resolvable", "bad_scan"):
        ERR.print("vaestar: no points are recommended on this scan", highlight=False)
    if figures.problems:
        raise IncompleteError("\n".join(figures.problems) + f"\nrecord and table are complete in {out}; only figures are missing")
