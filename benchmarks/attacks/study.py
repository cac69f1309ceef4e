"""Every attack that was tried on vaestar, what it promises all the same, and whether the promise holds.

    python -m benchmarks.attacks --out benchmarks/results

An attack is a test with the marker `attack(what, promise=...)`: it does something that a careless, damaged or hostile program,
file, person or computer may do, with real sockets and processes where these matter, and asserts what is promised. This study
runs these tests and makes a table of them. A promise that any test found not to be kept is broken; an attack is skipped if none
of its tests can run on this machine.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from benchmarks.attacks.collector import REPORT
from benchmarks.harness.commandline import CONSOLE, REPOSITORY, CannotRunError
from benchmarks.harness.outcome import Outcome, write

_PYTEST = (
    "-m",
    "pytest",
    "-c",
    "pyproject.toml",
    "-q",
    "-m",
    "attack",
    "-p",
    "benchmarks.attacks.collector",
    "-p",
    "no:cacheprovider",
    "--no-header",
)
_NOTHING_COLLECTED = 5


@dataclass
class Attack:
    """One attack, over all tests that carry it."""

    what: str
    promise: str
    outcomes: list[str] = field(default_factory=list)
    tests: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def result(self) -> str:
        """Whether the promise was held or broken, or all tests were skipped."""
        if "failed" in self.outcomes:
            return "broken"
        return "held" if "passed" in self.outcomes else "skipped"


def main() -> None:
    """Run the attacks and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for the JSON and Markdown files")
    parser.add_argument("--processes", type=int, default=2, help="number of processes (default 2)")
    parser.add_argument("tests", nargs="*", default=["tests"], help="files or folders of tests (default: all)")
    options = parser.parse_args()
    attacks = gather(run_tests(options.tests, options.processes))
    outcome = table(attacks)
    write(outcome, options.out, [])
    for attack in attacks:
        if attack.result == "broken":
            CONSOLE.print(f"broken: {attack.what} ({attack.promise}): {', '.join(attack.tests)}", highlight=False, markup=False)
    sys.exit(1 if outcome.figures["broken"] else 0)


def run_tests(tests: Sequence[str], processes: int) -> list[dict[str, Any]]:
    """Results of all tests with the marker, as written by the collector.

    Raises
    ------
    CannotRunError
        If there is no such test, or pytest could not run.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "attacks.jsonl"
        command = [sys.executable, *_PYTEST, "--numprocesses", str(processes), "--dist", "loadfile", *tests]
        columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=CONSOLE, transient=True) as progress:
            task = progress.add_task("attacks")
            process = subprocess.Popen(
                command, cwd=REPOSITORY, env=os.environ | {REPORT: str(report)}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            try:
                output = _watched(process, report, lambda n: progress.update(task, description=f"{n} attacks tried"))
            finally:
                process.terminate()
                process.wait()
        if not report.exists():
            why = "no test carries the marker 'attack'" if process.returncode == _NOTHING_COLLECTED else output[-2000:]
            raise CannotRunError(f"no attack could be tried: {why}")
        return [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]


def _watched(process: "subprocess.Popen[bytes]", report: Path, tried: Any) -> str:
    while True:
        try:
            output, _ = process.communicate(timeout=1.0)
        except subprocess.TimeoutExpired:
            tried(report.read_bytes().count(b"\n") if report.exists() else 0)
        else:
            return output.decode(errors="replace")


def gather(results: Sequence[dict[str, Any]]) -> list[Attack]:
    """Attacks in the order of their tests' names; tests of the same attack and promise together."""
    attacks: dict[tuple[str, str], Attack] = {}
    for result in sorted(results, key=lambda r: str(r["test"])):
        attack = attacks.setdefault((result["what"], result["promise"]), Attack(result["what"], result["promise"]))
        attack.outcomes.append(result["outcome"])
        attack.tests.append(result["test"])
        attack.seconds += result["seconds"]
    return list(attacks.values())


def table(attacks: Sequence[Attack]) -> Outcome:
    """The table of attacks, with the number of each result."""
    results = [attack.result for attack in attacks]
    rows = [
        {
            "attack": attack.what,
            "promise": attack.promise,
            "result": attack.result,
            "tests": len(attack.tests),
            "s": round(attack.seconds, 1),
        }
        for attack in attacks
    ]
    return Outcome(
        name="attacks",
        title="Attacks on what is promised",
        figures={
            "attacks": float(len(attacks)),
            "tests": float(sum(len(attack.tests) for attack in attacks)),
            **{name: float(results.count(name)) for name in ("held", "broken", "skipped")},
        },
        details={"attacks": [vars(attack) for attack in attacks]},
        tables={"Attacks": rows},
        notes=["Each attack is a test with the marker `attack`; `python -m pytest -m attack` runs them alone."],
    )
