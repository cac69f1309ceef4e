"""The command `vaestar`. Nothing heavy is imported before a command needs it, so that help and the simulator start at once."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from agent.cli import operator_app as cli_steering
from agent.cli.exit_handling import command as _command
from agent.cli.exit_handling import fail as _fail
from agent.config.logs import LogFormat, LogLevel
from instrument_adapters import exit_codes

app = typer.Typer(
    help="Chooses where an automated scanning-probe microscope should measure.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(cli_steering.app)
history_app = typer.Typer(help="What was decided, when and why.", no_args_is_help=True)
app.add_typer(history_app, name="history")

ConfigOption = Annotated[Path | None, typer.Option("--config", help="TOML file with every choice; see docs/configuration.md.")]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Seed of all randomness (default 0).")]
DeadlineOption = Annotated[
    float | None, typer.Option("--deadline", metavar="SECONDS", help="Decide with what is complete by then (default: no limit).")
]
DaskOption = Annotated[
    str | None, typer.Option("--dask", metavar="ADDRESS", help="Train on a Dask cluster, such as tcp://127.0.0.1:8786.")
]
RunOption = Annotated[Path | None, typer.Option("--run", help="Run directory (default: the newest in ./runs).")]


def main() -> None:
    """Run the command line; every foreseeable mistake ends in one sentence and an exit code."""
    app()


@app.command()
@_command
def analyze(
    scan: Annotated[Path, typer.Argument(help="A scan: .ibw (Igor) or NSID .h5.", show_default=False)],
    channel: Annotated[str | None, typer.Option(help="Channel to analyse (default: the PFM amplitude).")] = None,
    out: Annotated[Path | None, typer.Option(help="Where results go (default: out/<scan name>).")] = None,
    seed: SeedOption = None,
    config: ConfigOption = None,
    deadline: DeadlineOption = None,
    dask: DaskOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print the decision as JSON instead of a table.")] = False,
) -> None:
    """Say where to measure on one recorded scan, and why."""
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
    run: Annotated[Path | None, typer.Option(help="Run directory, new or to be taken up (default: runs/<time>).")] = None,
    bind: Annotated[str | None, typer.Option(help="Address for instruments, such as tcp://127.0.0.1:5555.")] = None,
    telemetry: Annotated[str | None, typer.Option(help="Address where progress is published.")] = None,
    http: Annotated[
        str | None,
        typer.Option(help="Where /healthz, /metrics and the commands are answered, such as 127.0.0.1:5557; '' nowhere."),
    ] = None,
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Show a page there, to watch the agent and to say yes or no.")
    ] = False,
    key: Annotated[Path | None, typer.Option(help="The agent's secret key (of vaestar keygen).")] = None,
    allowed: Annotated[Path | None, typer.Option(help="Folder with the public keys of those who may connect.")] = None,
    seed: SeedOption = None,
    config: ConfigOption = None,
    deadline: DeadlineOption = None,
    dask: DaskOption = None,
    log_format: Annotated[LogFormat, typer.Option(help="Of the lines on stderr.")] = LogFormat.CONSOLE,
    log_file: Annotated[Path | None, typer.Option(help="JSON lines as well, in at most ten files of 10 MB.")] = None,
    log_level: Annotated[LogLevel, typer.Option(help="The least that is told.")] = LogLevel.INFO,
) -> None:
    """Run the agent until Ctrl-C or SIGTERM."""
    from agent.cli.log_setup import log_to
    from agent.cli.serve import serve_forever

    paths = {name: None if path is None else str(path.resolve()) for name, path in (("key", key), ("allowed", allowed))}
    given = {"bind": bind, "telemetry": telemetry, "http": http, **paths}
    log_to(log_format, log_level, log_file)
    serve_forever(run, given, seed=seed, config_path=config, deadline_s=deadline, dask=dask, dashboard=dashboard)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
@_command
def simulate(context: typer.Context) -> None:
    """Run a simulated MFP-3D in DART mode (`vaestar simulate --help` lists its options)."""
    if importlib.util.find_spec("scipy") is None:
        _fail("the simulator needs 'scipy', which is not installed; install with: pip install 'vaestar[simulator]'")
    _become([sys.executable, "-m", "simulators", *context.args])


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
@_command
def replay(context: typer.Context) -> None:
    """Work for an agent with recorded data (`vaestar replay --help` lists its options)."""
    _become([sys.executable, "-m", "instrument_adapters", "replay", *context.args])


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True}, add_help_option=False)
@_command
def adapter(context: typer.Context) -> None:
    """Run what stands between an instrument and an agent: folder, mfp3d, replay (`vaestar adapter --help`)."""
    _become([sys.executable, "-m", "instrument_adapters", *context.args])


@app.command()
@_command
def demo(
    run: Annotated[Path | None, typer.Option(help="Run directory (default: runs/demo-<time>).")] = None,
    cycles: Annotated[int, typer.Option(min=1, max=100, help="Scans to take and follow up.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sample, the noise and the agent.")] = 0,
    config: ConfigOption = None,
    dask: DaskOption = None,
) -> None:
    """Run agent and simulated microscope together and show what they do."""
    from agent.cli.demo import run_demo

    run_demo(run, cycles=cycles, seed=seed, config_path=config, dask=dask)


@app.command()
@_command
def report(
    what: Annotated[
        str, typer.Argument(metavar="[DECISION|RUN]", help="Id of a decision or scan, or a run directory (default: the run).")
    ] = "",
    run: RunOption = None,
    out: Annotated[Path | None, typer.Option(help="The file (default: ./ID.html).")] = None,
    figures: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Write each figure there besides.")] = None,
    form: Annotated[str, typer.Option("--format", help="Of these: png, svg or pdf.")] = "png",
) -> None:
    """One self-contained HTML file on a decision or a whole run, to be mailed and kept."""
    from agent.cli.report import write_html

    write_html(what, run, out, figures, form)


@app.command()
@_command
def keygen(
    name: Annotated[str, typer.Argument(help="Of the agent, or of an instrument: its instrument_id.", show_default=False)],
    folder: Annotated[Path, typer.Option("--dir", help="Where the two files go.")] = Path("keys"),
) -> None:
    """Make a pair of keys: NAME.key to be given away, NAME.key_secret to be kept."""
    from instrument_adapters.protocol.curve_keys import make_keys

    public, secret = make_keys(name, folder)
    typer.echo(f"{public}  give this to the other side")
    typer.echo(f"{secret}  keep this; nobody else may read it")


@app.command("check-reward")
@_command
def check_reward(
    name: Annotated[
        str | None, typer.Argument(help="Such as my_lab:silhouette (default: the configuration's).", show_default=False)
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Say whether a reward of your own keeps the contract, and what it breaks; exit code 0 or 1."""
    from agent.cli.check_reward import report

    if not report(name, config):
        raise SystemExit(exit_codes.FAILED)


InstrumentOption = Annotated[str | None, typer.Option("--instrument", metavar="ID", help="Only what this instrument did.")]
SampleOption = Annotated[str | None, typer.Option("--sample", metavar="ID", help="Only what became of this sample.")]
SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="Only from then on: 2026-11-26T14:30 (UTC), or 2h, 3d, 90min ago.")
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
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what comes in, until Ctrl-C.")] = False,
) -> None:
    """One line for each event of a run."""
    from agent.cli import history_events as audit
    from agent.history import filters as streams

    part = streams.Part(kind=kind, instrument=instrument, sample=sample, since=streams.since(since))
    (audit.follow if follow else audit.list_events)(run, part, last)


@history_app.command("show")
@_command
def history_show(identifier: IdArgument, run: RunOption = None) -> None:
    """Everything about one scan, decision, request or event."""
    from agent.cli.history_events import show

    show(run, identifier)


@history_app.command("verify")
@_command
def history_verify(
    run: RunOption = None,
    head: Annotated[
        str | None, typer.Option("--head", metavar="SEQ:HASH", help="The history must hold what `history head` once printed.")
    ] = None,
) -> None:
    """Check that no event and no array of a run was altered or removed; exit code 0 or 1."""
    from agent.cli.history_events import verify

    if not verify(run, head):
        raise SystemExit(exit_codes.FAILED)


@history_app.command("head")
@_command
def history_head(run: RunOption = None) -> None:
    """Number and hash of the newest event: note it down elsewhere, and nobody can change the past unseen."""
    from agent.cli.history_events import print_head

    print_head(run)


@history_app.command("replay")
@_command
def history_replay(
    identifier: Annotated[str | None, typer.Argument(metavar="[ID]", help="Decision, scan or event.", show_default=False)] = None,
    run: RunOption = None,
    every: Annotated[bool, typer.Option("--all", help="Every decision of the run.")] = False,
    beside: Annotated[Path | None, typer.Option(help="Folder of the configuration, if it names modules of your own.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, max=256, help="Processes (default: as recorded).")] = None,
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Make a decision again from the history alone, and say whether it is the same; exit code 0 or 1."""
    if every == (identifier is not None):
        _fail("name a decision, a scan or the number of an event, or --all for every decision")
    from agent.cli.history_replay import replay as replayed

    if not replayed(run, identifier, beside=beside, workers=workers, as_json=json):
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
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """In words: what was seen, tried, chosen and why, what it rests on, who approved, and what became of it."""
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
    scan: Annotated[str | None, typer.Option("--scan", metavar="ID", help="Only what became of this scan.")] = None,
    since: SinceOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what an earlier export left there.")] = False,
    json: Annotated[bool, typer.Option("--json", hidden=True)] = False,  # noqa: ARG001 - what it was called before there were others
) -> None:
    """A run, or a part of it, for other programs."""
    if form not in ("jsonl", "csv", "nsid", "bluesky"):
        _fail(f"there is no format '{form}'; choose jsonl, csv, nsid or bluesky")
    from agent.history import filters as streams
    from agent.reporting.export import run_export as exporting

    part = streams.Part(instrument=instrument, sample=sample, scan=scan, since=streams.since(since))
    exporting.export(run, exporting.Wanted(form, part, out, force))  # type: ignore[arg-type]  # checked above


@history_app.command("retain")
@_command
def history_retain(
    run: RunOption = None,
    config: ConfigOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
) -> None:
    """Let go of arrays on which nothing rests, as the section retention of the configuration says."""
    from agent.cli.history_retain import retain_arrays

    retain_arrays(run, config, dry_run=dry_run)


def _become(command: list[str]) -> None:
    """Replace this process by another program, or, where that cannot be done, run it and exit as it does."""
    if os.name == "posix":
        os.execv(command[0], command)  # noqa: S606 - our own interpreter and module
    raise SystemExit(subprocess.call(command))  # noqa: S603
