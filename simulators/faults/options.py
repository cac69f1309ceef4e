"""The command line's options for faults: what may be asked for, and what it means."""

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from simulators.config import MFP3DConfig
from simulators.errors import UnknownFaultError
from simulators.faults.catalogue import EVERY, FAULTS
from simulators.faults.schedule import FaultSchedule, Injection

_SEED_KEY = (1000,)  # a generator of their own, so that a run with faults is the same run otherwise


def add_fault_options(parser: argparse.ArgumentParser) -> None:
    """Let a parser take `--fault`, `--fault-rate`, `--sealed-log` and `--list-faults`."""
    add = parser.add_argument
    add(
        "--fault",
        type=_injection,
        action="append",
        default=[],
        metavar="NAME[@...]",
        help="what goes wrong, as NAME, NAME@SCAN, NAME@SCAN:LINE or NAME@point:N; repeatable",
    )
    add(
        "--fault-rate",
        type=_rate,
        action="append",
        default=[],
        metavar="[NAME=]R",
        help="mean number of random faults a scan: of all, or of one fault or group; repeatable",
    )
    add("--sealed-log", type=Path, default=None, metavar="FILE", help="where it is written what really went wrong, and when")
    add("--list-faults", action=_ListFaults, nargs=0, help="what can go wrong")


def fault_schedule(arguments: argparse.Namespace, config: MFP3DConfig) -> FaultSchedule:
    """What the command line asks for, of an instrument of this configuration.

    Raises
    ------
    UnknownFaultError
        If a fault is tied to a line that the frame does not have, or to a scan before the first.
    """
    last = config.frame.rows - 1
    for one in arguments.fault:
        if one.line is not None and one.line > last:
            raise UnknownFaultError(f"{one.name} was asked for at line {one.line}; a frame has lines 0 to {last}")
        if one.scan is not None and one.scan < config.first_scan:
            raise UnknownFaultError(f"{one.name} was asked for at scan {one.scan}; the first scan is {config.first_scan}")
    rates: Counter[str] = Counter()
    for name, rate in arguments.fault_rate:
        rates[name] += rate
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=_SEED_KEY))
    return FaultSchedule.drawn(rates, rng, arguments.fault)


def fault_table() -> str:
    """Name, group and meaning of every fault, a line each."""
    wide = max(map(len, FAULTS))
    return "".join(f"{fault.name:{wide}}  {fault.group:9}  {fault.what}\n" for fault in FAULTS.values())


class _ListFaults(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        sys.stdout.write(fault_table())
        parser.exit()


def _injection(text: str) -> Injection:
    try:
        return Injection.parsed(text)
    except UnknownFaultError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _rate(text: str) -> tuple[str, float]:
    """(name of a fault or a group, cases a scan)."""
    name, _, number = text.rpartition("=")
    try:
        rates = {name or EVERY: float(number)}
        FaultSchedule.drawn(rates, np.random.default_rng(0))
    except ValueError as error:
        known = str(error) if isinstance(error, UnknownFaultError) else f"{text!r} is no rate; give one such as 0.5 or probe=0.5"
        raise argparse.ArgumentTypeError(known) from error
    return next(iter(rates.items()))
