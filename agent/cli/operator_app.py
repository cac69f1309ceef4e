"""Commands to a running agent: what it does, and a person's words to it. They start fast, whatever the agent has loaded."""

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
    str | None, typer.Argument(metavar="[INSTRUMENT]", help="Which one (default: all).", show_default=False)
]
DecisionArgument = Annotated[str, typer.Argument(metavar="DECISION", help="Its id, of `vaestar pending`.", show_default=False)]
ByOption = Annotated[str | None, typer.Option("--by", metavar="NAME", help="Who says so (default: your login name).")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is recorded.", show_default=False)]
WhyOption = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]
InstrumentOption = Annotated[
    str | None, typer.Option("--instrument", help="Where one decision waits at several.", show_default=False)
]


@app.command()
@command
def status(
    run: RunOption = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Again every two seconds, until Ctrl-C.")] = False,
) -> None:
    """What the running agent does; exit code 3 if none runs, with what is known of its run."""
    from agent.cli.operator_commands import show_status

    show_status(run, as_json=json, watch=watch)


@app.command()
@command
def pause(reason: ReasonOption, instrument: InstrumentArgument = None, run: RunOption = None, by: ByOption = None) -> None:
    """Let instruments finish what is under way and begin nothing new."""
    from agent.cli.operator_commands import order

    order("pause", run, instrument, _name(by), reason)


@app.command()
@command
def resume(reason: WhyOption = "", instrument: InstrumentArgument = None, run: RunOption = None, by: ByOption = None) -> None:
    """Let instruments go on, after a pause or an emergency stop."""
    from agent.cli.operator_commands import order

    order("resume", run, instrument, _name(by), reason)


@app.command()
@command
def stop(reason: WhyOption = "", instrument: InstrumentArgument = None, run: RunOption = None, by: ByOption = None) -> None:
    """EMERGENCY STOP: instruments end at once what is under way, until `vaestar resume`. (The agent goes on; Ctrl-C ends it.)"""
    from agent.cli.operator_commands import order

    order("stop", run, instrument, _name(by), reason)


@app.command()
@command
def pending(run: RunOption = None, json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False) -> None:
    """Decisions that wait for a person's approval, with their points."""
    from agent.cli.operator_commands import show_pending

    show_pending(run, as_json=json)


@app.command()
@command
def approve(
    decision: DecisionArgument,
    drop: Annotated[list[str] | None, typer.Option("--drop", metavar="REQUEST", help="Leave this point out.")] = None,
    move: Annotated[
        list[str] | None, typer.Option("--move", metavar="REQUEST=X_UM,Y_UM", help="Measure this point there, in micrometres.")
    ] = None,
    reason: WhyOption = "",
    instrument: InstrumentOption = None,
    run: RunOption = None,
    by: ByOption = None,
) -> None:
    """Have the points of a decision measured."""
    from agent.cli.operator_commands import approve_decision

    places = dict(_place(text) for text in move or ())
    approve_decision(run, decision, _name(by), reason, drop=drop or (), move=places, instrument=instrument)


@app.command()
@command
def reject(
    decision: DecisionArgument,
    reason: ReasonOption,
    instrument: InstrumentOption = None,
    run: RunOption = None,
    by: ByOption = None,
) -> None:
    """Have none of a decision's points measured; the instrument goes on with a new scan."""
    from agent.cli.operator_commands import reject_decision

    reject_decision(run, decision, _name(by), reason, instrument=instrument)


def _name(by: str | None) -> str:
    if by is not None:
        return by
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this user, in a container
        fail("this user has no login name; say who you are with --by NAME")


def _place(text: str) -> tuple[str, tuple[float, float]]:
    """REQUEST=X_UM,Y_UM -> the request and x and y in metres."""
    name, _, place = text.partition("=")
    try:
        x_um, y_um = (float(part) for part in place.split(","))
    except ValueError:
        fail(f"--move {text} is no place; give one such as --move d-1-003=1.25,-0.5 (micrometres)")
    return name, (x_um / 1e6, y_um / 1e6)
