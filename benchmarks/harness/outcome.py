"""Output of every benchmark: a JSON record of its figures, and the same as a Markdown page."""

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scipy.stats import norm

from agent.schema.decision import versions


@dataclass
class Outcome:
    """Result of one benchmark.

    Parameters
    ----------
    name
        Name of the benchmark and of its two files.
    title
        Title of the Markdown page.
    figures
        Figure -> number; None if it could not be measured, with the reason in `missing`.
    details
        Data behind the figures, as plain JSON values.
    tables
        Heading -> rows, each a mapping of column to cell.
    notes
        Sentences needed to understand the figures.
    missing
        Figure -> reason why it has no number.
    """

    name: str
    title: str
    figures: dict[str, float | None]
    details: Mapping[str, Any]
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    notes: Sequence[str] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


def write(outcome: Outcome, directory: Path, seeds: Sequence[int], more_versions: Mapping[str, str] = {}) -> None:
    """Write the JSON and the Markdown file of `outcome` to `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    record = {
        "figures": outcome.figures,
        "missing": dict(outcome.missing),
        "notes": list(outcome.notes),
        "seeds": list(seeds),
        "machine": machine(),
        "versions": versions() | dict(more_versions),
        "details": outcome.details,
    }
    (directory / f"{outcome.name}.json").write_text(json.dumps(record, indent=2) + "\n")
    (directory / f"{outcome.name}.md").write_text(page(outcome, record))


def page(outcome: Outcome, record: Mapping[str, Any]) -> str:
    """Markdown page of the result."""
    rows = [{"figure": key, "value": value if value is not None else "-"} for key, value in outcome.figures.items()]
    parts = [f"# {outcome.title}", table(rows)]
    parts += [f"- {note}" for note in outcome.notes]
    parts += [f"- {key} was not measured: {why}" for key, why in outcome.missing.items()]
    for heading, table_rows in outcome.tables.items():
        parts += [f"\n## {heading}", table(table_rows)]
    host = record["machine"]
    parts.append(
        f"\n{host['processor']}, {host['cores']} cores, {host['memory_mb']} MB, load {host['load'][0]:.1f} at the end; "
        + ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    )
    return "\n\n".join(parts).replace("\n\n- ", "\n- ") + "\n"


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """A Markdown table with the columns of the first row."""
    if not rows:
        return "(nothing)"
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(_cell(row.get(column)) for column in columns) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 1 else f"{value:.4g}"
    return str(value)


def share_interval(hits: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson interval of a proportion with `hits` successes in `of` trials; (0, 1) without trials.

    Wilson, J. Am. Stat. Assoc. 22 (1927) 209.
    """
    if of == 0:
        return 0.0, 1.0
    z = float(norm.ppf(0.5 + confidence / 2))
    share = hits / of
    centre = (share + z**2 / (2 * of)) / (1 + z**2 / of)
    half = z / (1 + z**2 / of) * math.sqrt(share * (1 - share) / of + z**2 / (4 * of**2))
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))


def machine() -> dict[str, Any]:
    """Processor, cores available to this process, memory, operating system and load."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_mb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**20),
        "system": platform.platform(),
        "load": list(os.getloadavg()),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
