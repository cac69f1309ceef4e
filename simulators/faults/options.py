"""Command-line options for faults, and the schedule that they describe."""

import argparse
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from instrument_adapters.command_line.output import write_text
from simulators.config import MFP3DConfig
from simulators.errors import UnknownFaultError
from simulators.faults.catalogue import EVERY, FAULTS
from simulators.faults.schedule import FaultSchedule, Injection

_SEED_KEY = (1000,)  # faults have a random generator of their own, so that a run with faults is otherwise unchanged


def add_fault_options(parser: argparse.ArgumentParser) -> None:
    """Add `--fault`, `--fault-rate`, `--sealed-log` and `--list-faults` to a parser."""
    add = parser.add_argument
    add(
        "--fault",
        type=_injection,
        action="append",
        default=[],
        metavar="NAME[@...]",
        help="fault to inject, as NAME, NAME@SCAN, NAME@SCAN:LINE or NAME@point:N; repeatable",
    )
    add(
        "--fault-rate",
        type=_rate,
        action="append",
        default=[],
        metavar="[NAME=]R",
        help="mean number of random faults per scan, in total or of one fault or group; repeatable",
    )
    add("--sealed-log", type=Path, default=None, metavar="FILE", help="file that records the faults that really occurred")
    add("--list-faults", action=_ListFaults, nargs=0, help="list the faults and exit")


def fault_schedule(arguments: argparse.Namespace, config: MFP3DConfig) -> FaultSchedule:
    """Schedule of the faults on the command line, for an instrument of this configuration.

    Raises
    ------
    UnknownFaultError
        If a fault is tied to a line outside the frame, or to a scan before the first.
    """
    last = config.frame.rows - 1
    for one in arguments.fault:
        if one.line is not None and one.line > last:
            raise UnknownFaultError(f"{one.name} is tied to line {one.line}; a frame has lines 0 to {last}")
        if one.scan is not None and one.scan < config.first_scan:
            raise UnknownFaultError(f"{one.name} is tied to scan {one.scan}; the first scan is {config.first_scan}")
    rates: Counter[str] = Counter()
    for name, rate in arguments.fault_rate:
        rates[name] += rate
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=_SEED_KEY))
    return FaultSchedule.random(rates, rng, arguments.fault)


def fault_table() -> str:
    """Name, group and description of every fault, one per line."""
    wide = max(map(len, FAULTS))
    return "".join(f"{fault.name:{wide}}  {fault.group:9}  {fault.description}\n" for fault in FAULTS.values())


class _ListFaults(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        write_text(fault_table())
        parser.exit()


def _injection(text: str) -> Injection:
    try:
        return Injection.parse(text)
    except UnknownFaultError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _rate(text: str) -> tuple[str, float]:
    """(name of a fault or group, mean number per scan)."""
    name, _, number = text.rpartition("=")
    try:
        rates = {name or EVERY: float(number)}
        FaultSchedule.random(rates, np.random.default_rng(0))
    except ValueError as error:
        unknown_fault = isinstance(error, UnknownFaultError)
        message = str(error) if unknown_fault else f"{text!r} is not a rate; give a rate such as 0.5 or probe=0.5"
        raise argparse.ArgumentTypeError(message) from error
    return next(iter(rates.items()))
