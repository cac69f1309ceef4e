"""`vaestar report`: decisions as one self-contained HTML file.

Figures, styles and tables are embedded; there are no scripts and nothing is loaded from elsewhere. The same history gives the
same file.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from agent.reporting.drawing import drawings, png_tag
from agent.reporting.figure_kinds import FigureKind
from agent.reporting.notebook import Analysis
from agent.schema.decision import ConfigurationRecord, DecisionRecord
from agent.schema.model_kinds import label
from agent.schema.wording import OUTCOMES
from instrument_adapters.plain_text import as_html as escape

CAPTIONS: Mapping[FigureKind, str] = {
    "scan": "The analysed channel, the core points of each cluster, and the recommended points in measuring order.",
    "patches": "Patches of each type: the mean of the core patches, then the most typical ones.",
    "loops": "Measured loops by type.",
    "latent": "The chosen latent space, with the Gaussians fitted to it.",
    "reward": "Reward against window for each kind of representation, over seeds.",
    "latent_grid": "Latent spaces of all configurations.",
    "pareto": "Trade-offs (Pareto front).",
}
_STYLE = """
:root { color-scheme: light dark; --line: #d8d8d8; --soft: #666; --paper: #fff; --ink: #1c1c1c; }
@media (prefers-color-scheme: dark) { :root { --line: #444; --soft: #aaa; --paper: #191919; --ink: #e6e6e6; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.25rem; margin-top: 2.5rem; } h3 { font-size: 1rem; margin-top: 1.8rem; }
section { border-top: 1px solid var(--line); }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
figcaption, .note { color: var(--soft); font-size: .85rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; } tr.tie td { font-weight: 600; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.2rem; font-size: .9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
pre { font-size: .75rem; overflow-x: auto; } summary { cursor: pointer; color: var(--soft); }
@media print { body { font-size: 10pt; } section, figure { break-inside: avoid; } details { display: none; } }
"""
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>{style}</style></head>
<body><main>{body}</main></body>
</html>
"""


class Page(NamedTuple):
    """The HTML file as text, and a sentence for each figure that could not be drawn."""

    html: str
    problems: list[str]


def page(title: str, analyses: Sequence[Analysis], provenance: Mapping[str, str], notes: Sequence[str] = ()) -> Page:
    """The HTML file as text. A figure that cannot be drawn is replaced by the reason.

    Parameters
    ----------
    title
        Title of the page.
    analyses
        Decisions in reading order.
    provenance
        Name -> value of facts about the origin of the data.
    notes
        Other events of the run that matter to a reader, one sentence each.
    """
    parts = [f"<h1>{escape(title)}</h1>"]
    if len(analyses) > 1:
        parts.append(_contents(analyses))
    problems: list[str] = []
    parts += [_decision(analysis, problems) for analysis in analyses]
    if notes:
        parts.append("<h2>Other events</h2><ul>" + "".join(f"<li>{escape(line)}</li>" for line in notes) + "</ul>")
    parts.append(f"<h2>Provenance</h2>{_facts(provenance)}")
    return Page(_PAGE.format(title=escape(title), style=_STYLE, body="".join(parts)), problems)


def _contents(analyses: Sequence[Analysis]) -> str:
    rows = []
    for analysis in analyses:
        record = analysis.record
        link = f'<a href="#{escape(record.decision_id)}">{escape(record.scan_id)}</a>'
        done = sum(m.status == "ok" for m in analysis.measured)
        cells = (OUTCOMES[record.outcome], str(len(record.clusters) or "-"), str(len(record.requests)), str(done))
        rows.append(f"<tr><td>{link}</td>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    return _table(("scan", "outcome", "types", "points", "measured"), rows)


def _decision(analysis: Analysis, problems: list[str]) -> str:
    record = analysis.record
    parts = [f'<section id="{escape(record.decision_id)}"><h2>{escape(record.scan_id)}: {OUTCOMES[record.outcome]}</h2>']
    parts.append("".join(f"<p>{escape(s)}</p>" for s in (record.explanation,)))
    for drawing in drawings(analysis.scan, analysis.decision, analysis.measured):
        if drawing.kind is None or drawing.content is None:
            problems.append(drawing.problem)
            parts.append(f'<p class="note">{escape(drawing.problem)}</p>')
            continue
        picture = png_tag(drawing.content, f"{drawing.kind} of the decision")
        parts.append(f"<figure>{picture}<figcaption>{CAPTIONS[drawing.kind]}</figcaption></figure>")
    if record.requests:
        parts += ["<h3>Points</h3>", _requests_table(analysis)]
    if record.configurations:
        parts += ["<h3>Compared configurations</h3>", _configurations(record.configurations)]
    rejected = [c for c in record.candidates if c.guarded_out]
    if rejected:
        rows = [f"<tr><td>{escape(c.candidate_id)}</td><td>{escape(str(c.guarded_out))}</td></tr>" for c in rejected]
        parts += ["<h3>Rejected candidates</h3>", _table(("candidate", "reason"), rows)]
    parts += ["<h3>Details of the decision</h3>", _facts(_details(record)), _folded("configuration", record.config)]
    return "".join(parts) + "</section>"


def _requests_table(analysis: Analysis) -> str:
    rows = []
    names = sorted({name for m in analysis.measured for name in m.parameters})[:6]
    results = {m.request_id: m for m in analysis.measured}
    for n, r in enumerate(analysis.record.requests, 1):
        m = results.get(r.request_id)
        cells = [str(n), str(r.cluster), f"{r.x_m * 1e6:.4f}", f"{r.y_m * 1e6:.4f}", f"{r.core_distance:.2f}"]
        cells += ["", ""] if m is None else [m.status, m.reason]
        cells += ["" if m is None or name not in m.parameters else f"{m.parameters[name]:.4g}" for name in names]
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    heads = (
        "#",
        "cluster",
        "x (µm)",
        "y (µm)",
        "core distance",
        "result",
        "remark",
        *(n.replace("_", " ") for n in names),
    )
    return _table(heads, rows)


def _configurations(configurations: Iterable[ConfigurationRecord]) -> str:
    rows = []
    for c in configurations:
        spread = "" if c.std is None else f" ± {c.std:.3f}"
        below = "" if c.sigmas_below_best is None else f"{c.sigmas_below_best:.1f}"
        cells = (label(c.invariance, c.variant), str(c.window_px), f"{c.mean:.3f}{spread}", str(c.seeds), str(c.types), below)
        tie_class = ' class="tie"' if c.in_tie_set else ""
        rows.append(f"<tr{tie_class}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    heads = ("kind", "window (px)", "reward", "seeds", "types", "σ below the best")
    return _table(heads, rows) + '<p class="note">Bold: configurations that tie with the best.</p>'


def _details(record: DecisionRecord) -> dict[str, str]:
    facts = {
        "decision": record.decision_id,
        "sample": record.sample_id,
        "channel": f"{record.channel} ({record.unit})" if record.unit else record.channel,
        "frame": f"{record.frame.cols} × {record.frame.rows} px, "
        f"{record.frame.size_fast_m * 1e6:.3f} × {record.frame.size_slow_m * 1e6:.3f} µm",
        "analysed in": f"{record.analysed_frame.cols} × {record.analysed_frame.rows} square px" if record.analysed.frame else "",
        "wild pixels replaced": ", ".join(f"{n} of {name}" for name, n in record.analysed.wild_pixels.items()),
        "key points": f"{record.keypoints_used} of {record.keypoints_found}",
        "chosen": record.chosen or "nothing",
        "rungs complete": ", ".join(record.rungs) or "nothing",
        "warm start from": record.warm_from or "",
        "cold start because": "" if record.warm_from else record.cold_because or "",
        "results used": str(record.results_used),
        "seed": str(record.config.get("seed", "")),
        "versions": ", ".join(f"{name} {version}" for name, version in record.versions.items()),
    }
    return {name: value for name, value in facts.items() if value}


def _folded(heading: str, value: Mapping[str, Any]) -> str:
    text = escape(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))
    return f"<details><summary>{heading}</summary><pre>{text}</pre></details>"


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items())
    return f"<dl>{rows}</dl>"


def _table(heads: Iterable[str], rows: Iterable[str]) -> str:
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
