"""Command line of the operator's commands to a running agent. Modules are imported late, so that the commands start fast."""

import getpass
from pathlib import Path
from typing import Annotated

import typer

from agent.cli.exit_handling import command, fail

app = typer.Typer()

RunOption = Annotated[
    Path | None, typer.Option("--run", help="Run directory (default: the newest in ./runs that an agent runs on).")
]
InstrumentArgument = Annotated[
    str | None, typer.Argument(metavar="[INSTRUMENT]", help="Id of the instrument (default: all).", show_default=False)
]
DecisionArgument = Annotated[
    str, typer.Argument(metavar="DECISION", help="Id of the decision; `vaestar pending` lists them.", show_default=False)
]
ByOption = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Your name, which is recorded (default: login name).")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Reason, which is recorded.", show_default=False)]
WhyOption = Annotated[str, typer.Option("--reason", help="Reason, which is recorded.")]
InstrumentOption = Annotated[
    str | None,
    typer.Option("--instrument", help="Id of the instrument, if several have a decision of this id.", show_default=False),
]


@app.command()
@command
def status(
    run: RunOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Repeat every two seconds until Ctrl-C.")] = False,
) -> None:
    """Show the state of the running agent. If none runs, show a summary of the run and exit with code 3."""
    from agent.cli.operator_commands import show_status

    show_status(run, as_json=json, watch=watch)


@app.command()
@command
def pause(reason: ReasonOption, instrument: InstrumentArgument = None, run: RunOption = None, by: ByOption = None) -> None:
    """Pause instruments: they finish the measurement under way and begin nothing new."""
    from agent.cli.operator_commands import send_command

    send_command("pause", run, instrument, _operator_name(by), reason)


@app.command()
@command
def resume(reason: WhyOption = "", instrument: InstrumentArgument = None, run: RunOption = None, by: ByOption = None) -> None:
    """Resume instruments after a pause or an emergency stop."""
    from agent.cli.operator_commands import send_command

    send_command("resume", run, instrument, _operator_name(by), reason)


@app.command()
@command
def stop(reason: WhyOption = "", instrument: InstrumentArgument = None, run: RunOption = None, by: ByOption = None) -> None:
    """EMERGENCY STOP: instruments end their measurement at once, until `vaestar resume`. The agent keeps running."""
    from agent.cli.operator_commands import send_command

    send_command("stop", run, instrument, _operator_name(by), reason)


@app.command()
@command
def pending(run: RunOption = None, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the decisions that wait for approval, with their points."""
    from agent.cli.operator_commands import show_pending

    show_pending(run, as_json=json)


@app.command()
@command
def approve(
    decision: DecisionArgument,
    drop: Annotated[list[str] | None, typer.Option("--drop", metavar="REQUEST", help="Leave this point out.")] = None,
    move: Annotated[
        list[str] | None, typer.Option("--move", metavar="REQUEST=X_UM,Y_UM", help="Move this point to there, in micrometres.")
    ] = None,
    reason: WhyOption = "",
    instrument: InstrumentOption = None,
    run: RunOption = None,
    by: ByOption = None,
) -> None:
    """Approve a decision: its points are measured."""
    from agent.cli.operator_commands import approve_decision

    positions = dict(_parse_move(text) for text in move or ())
    approve_decision(run, decision, _operator_name(by), reason, drop=drop or (), move=positions, instrument=instrument)


@app.command()
@command
def reject(
    decision: DecisionArgument,
    reason: ReasonOption,
    instrument: InstrumentOption = None,
    run: RunOption = None,
    by: ByOption = None,
) -> None:
    """Reject a decision: none of its points is measured, and the instrument continues with a new scan."""
    from agent.cli.operator_commands import reject_decision

    reject_decision(run, decision, _operator_name(by), reason, instrument=instrument)


def _operator_name(by: str | None) -> str:
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, for example in a container
        fail("this user has no login name; give your name with --by NAME")


def _parse_move(text: str) -> tuple[str, tuple[float, float]]:
    """Parse REQUEST=X_UM,Y_UM into the request id and its position (x, y) in metres."""
    name, _, position = text.partition("=")
    try:
        x_um, y_um = (float(part) for part in position.split(","))
    except ValueError:
        fail(f"--move {text} is not of the form REQUEST=X_UM,Y_UM; an example is --move d-1-003=1.25,-0.5 (micrometres)")
    return name, (x_um / 1e6, y_um / 1e6)
