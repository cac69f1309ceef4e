"""The command `vaestar`. Commands import heavy modules only when they run, so that help and the simulator start fast."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from agent.cli import operator_app
from agent.cli.exit_handling import CommandGroup
from agent.cli.exit_handling import command as _command
from agent.cli.exit_handling import fail as _fail
from agent.config.logs import LogFormat, LogLevel
from instrument_adapters import exit_codes
from instrument_adapters.child_process import module_command, module_environment
from instrument_adapters.command_line.output import run_command, write_line

app = typer.Typer(
    cls=CommandGroup,
    help="Chooses where an automated scanning-probe microscope should measure.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(operator_app.app)
history_app = typer.Typer(cls=CommandGroup, help="Query, check, replay and export the record of a run.", no_args_is_help=True)
app.add_typer(history_app, name="history")

ConfigOption = Annotated[Path | None, typer.Option("--config", help="Configuration file (TOML); see docs/configuration.md.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of all randomness (default 0).")]
DeadlineOption = Annotated[
    float | None,
    typer.Option(
        "--deadline", metavar="SECONDS", help="Decide after this time with the candidates finished by then (default: no limit)."
    ),
]
DaskOption = Annotated[
    str | None, typer.Option("--dask", metavar="ADDRESS", help="Train on a Dask cluster, such as tcp://127.0.0.1:8786.")
]
RunOption = Annotated[Path | None, typer.Option("--run", help="Run directory (default: the newest in ./runs).")]


def main() -> None:
    """Run the command line; foreseen errors end in one sentence and an exit code."""
    sys.exit(run_command(app))


@app.command()
@_command
def analyze(
    scan: Annotated[Path, typer.Argument(help="A scan: .ibw (Igor) or NSID (.h5, .hdf5, .hf5).", show_default=False)],
    channel: Annotated[str | None, typer.Option(help="Channel to analyse (default: the PFM amplitude).")] = None,
    out: Annotated[Path | None, typer.Option(help="Directory of the results (default: out/<scan name>).")] = None,
    seed: SeedOption = None,
    config: ConfigOption = None,
    deadline: DeadlineOption = None,
    dask: DaskOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print the decision as JSON instead of a table.")] = False,
) -> None:
    """Decide where to measure on one recorded scan, and explain why."""
    from agent.cli.analyze import analyze_file

    analyze_file(
        scan,
        out or Path("out") / scan.stem,
        channel=channel,
        seed=seed,
        config_path=config,
        as_json=json,
        deadline_s=deadline,
        dask=dask,
    )


@app.command()
@_command
def serve(
    run: Annotated[Path | None, typer.Option(help="Run directory, new or to be continued (default: runs/<time>).")] = None,
    bind: Annotated[str | None, typer.Option(help="Address for instruments, such as tcp://127.0.0.1:5555.")] = None,
    telemetry: Annotated[str | None, typer.Option(help="Address on which progress is published.")] = None,
    http: Annotated[
        str | None,
        typer.Option(help="Address of the HTTP server, such as 127.0.0.1:5557; '' disables it."),
    ] = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Serve the dashboard there, to watch the agent and approve its decisions.")
    ] = False,
    channel: Annotated[str | None, typer.Option(help="Channel to analyse (default: the PFM amplitude).")] = None,
    key: Annotated[Path | None, typer.Option(help="Secret key file of the agent, made by vaestar keygen.")] = None,
    allowed: Annotated[Path | None, typer.Option(help="Folder with the public keys of the instruments that may connect.")] = None,
    seed: SeedOption = None,
    config: ConfigOption = None,
    deadline: DeadlineOption = None,
    dask: DaskOption = None,
    log_format: Annotated[LogFormat, typer.Option(help="Format of the log on stderr.")] = LogFormat.CONSOLE,
    log_file: Annotated[
        Path | None, typer.Option(help="Also write the log as JSON lines to this file; ten files of 10 MB are kept.")
    ] = None,
    log_level: Annotated[LogLevel, typer.Option(help="Lowest level that is logged.")] = LogLevel.INFO,
) -> None:
    """Run the agent until Ctrl-C, SIGTERM, or the end of its terminal."""
    from agent.cli.log_setup import log_to
    from agent.cli.serve import serve_forever

    paths = {name: None if path is None else str(path.resolve()) for name, path in (("key", key), ("allowed", allowed))}
    given = {"bind": bind, "telemetry": telemetry, "http": http, **paths}
    log_to(log_format, log_level, log_file)
    serve_forever(run, given, channel=channel, seed=seed, config_path=config, deadline_s=deadline, dask=dask, dashboard=dashboard)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
@_command
def simulate(context: typer.Context) -> None:
    """Run a simulated MFP-3D in DART mode (`vaestar simulate --help` lists its options)."""
    if importlib.util.find_spec("scipy") is None:
        _fail("the simulator needs 'scipy', which is not installed; install with: pip install 'vaestar[simulator]'")
    _exec("simulators", context.args)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
@_command
def replay(context: typer.Context) -> None:
    """Serve recorded data to an agent as an instrument (`vaestar replay --help` lists its options)."""
    _exec("instrument_adapters", ["replay", *context.args])


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
@_command
def adapter(context: typer.Context) -> None:
    """Run the adapter of an instrument: folder, mfp3d or replay (`vaestar adapter --help`)."""
    _exec("instrument_adapters", context.args)


@app.command()
@_command
def demo(
    run: Annotated[Path | None, typer.Option(help="Run directory (default: runs/demo-<time>).")] = None,
    cycles: Annotated[int, typer.Option(min=1, max=100, help="Number of cycles of scan, decision and measurement.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample, the noise and the agent.")] = 0,
    config: ConfigOption = None,
    dask: DaskOption = None,
) -> None:
    """Run the agent with a simulated microscope and show what they do."""
    from agent.cli.demo import run_demo

    run_demo(run, cycles=cycles, seed=seed, config_path=config, dask=dask)


@app.command()
@_command
def report(
    what: Annotated[
        str, typer.Argument(metavar="[DECISION|RUN]", help="Id of a decision or scan, or a run directory (default: the run).")
    ] = "",
    run: RunOption = None,
    out: Annotated[Path | None, typer.Option(help="Report file (default: ./ID.html).")] = None,
    figures: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Also write each figure to this folder.")] = None,
    form: Annotated[str, typer.Option("--format", help="Format of these figures: png, svg or pdf.")] = "png",
) -> None:
    """Write a self-contained HTML report on a decision or a whole run."""
    from agent.cli.report import write_html

    write_html(what, run, out, figures, form)


@app.command()
@_command
def keygen(
    name: Annotated[
        str, typer.Argument(help="Name of the key: agent, or the instrument_id of an instrument.", show_default=False)
    ],
    folder: Annotated[Path, typer.Option("--dir", help="Folder of the two key files.")] = Path("keys"),
) -> None:
    """Make a key pair: NAME.key for the other side, NAME.key_secret to keep."""
    from instrument_adapters.protocol.curve_keys import make_keys

    public, secret = make_keys(name, folder)
    write_line(f"{public}  give this to the other side")
    write_line(f"{secret}  keep this private")


@app.command("check-reward")
@_command
def check_reward(
    name: Annotated[
        str | None,
        typer.Argument(help="Reward, such as my_lab:silhouette (default: that of the configuration).", show_default=False),
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Check a reward of your own against the contract and list the violations; exit code 0 or 1."""
    from agent.cli.check_reward import report

    if not report(name, config):
        raise SystemExit(exit_codes.FAILED)


InstrumentOption = Annotated[str | None, typer.Option("--instrument", metavar="ID", help="Only events of this instrument.")]
SampleOption = Annotated[str | None, typer.Option("--sample", metavar="ID", help="Only events of this sample.")]
SinceOption = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help="Only events since this time: 2026-11-26T14:30 (UTC), or 2h, 3d, 90min ago."),
]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Id of a scan, decision or request, or the number of an event.")]


@history_app.command("list")
@_command
def history_list(
    run: RunOption = None,
    kind: Annotated[str | None, typer.Option(help="Only this kind of event.")] = None,
    instrument: InstrumentOption = None,
    sample: SampleOption = None,
    since: SinceOption = None,
    last: Annotated[int | None, typer.Option("--last", min=1, metavar="N", help="Only the newest N.")] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Print new events until Ctrl-C.")] = False,
) -> None:
    """List the events of a run, one line each."""
    from agent.cli import history_events
    from agent.history import filters

    event_filter = filters.EventFilter(kind=kind, instrument=instrument, sample=sample, since=filters.parse_since(since))
    (history_events.follow if follow else history_events.list_events)(run, event_filter, last)


@history_app.command("show")
@_command
def history_show(identifier: IdArgument, run: RunOption = None) -> None:
    """Show everything about one scan, decision, request or event."""
    from agent.cli.history_events import show

    show(run, identifier)


@history_app.command("verify")
@_command
def history_verify(
    run: RunOption = None,
    head: Annotated[
        str | None,
        typer.Option(
            "--head", metavar="SEQ:HASH", help="Head printed earlier by `history head`, which the history must contain."
        ),
    ] = None,
) -> None:
    """Check that no event or array of a run was altered or removed; exit code 0 or 1."""
    from agent.cli.history_events import verify

    if not verify(run, head):
        raise SystemExit(exit_codes.FAILED)


@history_app.command("head")
@_command
def history_head(run: RunOption = None) -> None:
    """Print number and hash of the newest event. Noted elsewhere, they reveal any later change of the history."""
    from agent.cli.history_events import print_head

    print_head(run)


@history_app.command("replay")
@_command
def history_replay(
    identifier: Annotated[str | None, typer.Argument(metavar="[ID]", help="Decision, scan or event.", show_default=False)] = None,
    run: RunOption = None,
    every: Annotated[bool, typer.Option("--all", help="Every decision of the run.")] = False,
    beside: Annotated[Path | None, typer.Option(help="Folder with your own modules, if the configuration names any.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, max=256, help="Worker processes (default: as recorded).")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute a decision again from the history alone and compare it with the record; exit code 0 or 1."""
    if every == (identifier is not None):
        _fail("give a decision, a scan or the number of an event, or --all for every decision")
    from agent.cli.history_replay import replay as replay_decisions

    if not replay_decisions(run, identifier, beside=beside, workers=workers, as_json=json):
        raise SystemExit(exit_codes.FAILED)


@history_app.command("explain")
@_command
def history_explain(
    identifier: Annotated[
        str | None,
        typer.Argument(
            metavar="[ID]", help="Decision, scan, request, instrument or event (default: the run).", show_default=False
        ),
    ] = None,
    run: RunOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain in words what was seen, tried and chosen, on which data, who approved it, and what was measured."""
    from agent.cli.history_explain import explain

    explain(run, identifier, as_json=json)


@history_app.command("export")
@_command
def history_export(
    run: RunOption = None,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="jsonl, csv, nsid (HDF5) or bluesky.")] = "jsonl",
    out: Annotated[Path | None, typer.Option(help="File, or folder for csv and nsid (default: standard output).")] = None,
    instrument: InstrumentOption = None,
    sample: SampleOption = None,
    scan: Annotated[str | None, typer.Option("--scan", metavar="ID", help="Only events of this scan.")] = None,
    since: SinceOption = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the files of an earlier export.")] = False,
    json: Annotated[bool, typer.Option("--json", hidden=True)] = False,  # noqa: ARG001 - option of earlier versions, which exported JSON only
) -> None:
    """Export a run, or part of it, for other programs."""
    if form not in ("jsonl", "csv", "nsid", "bluesky"):
        _fail(f"unknown format '{form}'; choose jsonl, csv, nsid or bluesky")
    from agent.history import filters
    from agent.reporting.export import run_export

    event_filter = filters.EventFilter(instrument=instrument, sample=sample, scan=scan, since=filters.parse_since(since))
    run_export.export(run, run_export.ExportRequest(form, event_filter, out, force))  # type: ignore[arg-type]  # checked above


@history_app.command("retain")
@_command
def history_retain(
    run: RunOption = None,
    config: ConfigOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be released.")] = False,
) -> None:
    """Release arrays that nothing depends on, by the retention section of the configuration."""
    from agent.cli.history_events import retain_arrays

    retain_arrays(run, config, dry_run=dry_run)


def _exec(module: str, arguments: Sequence[str]) -> None:
    """Replace this process with another of our programs; on systems that cannot, run it and exit with its exit code."""
    command, environment = module_command(module, *arguments), module_environment()
    if os.name == "posix":
        os.execve(command[0], command, environment)  # noqa: S606 - our own interpreter and module
    raise SystemExit(subprocess.call(command, env=environment))  # noqa: S603
