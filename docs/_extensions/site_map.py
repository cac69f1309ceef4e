"""Turns pages that are also read as plain files into a site: tables of contents from lists, and links out of `docs`."""

import re
from pathlib import Path

from sphinx.application import Sphinx

# Pages whose lists of links are tables of contents; the second-level heading above a list is its caption.
_CONTENTS = ("index", "decisions/README")
_RESULTS = "generated/results"
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_ENTRY = re.compile(r"^- \[.+?\]\(([^)#:]+)\.md\)", re.MULTILINE)
_LINK_TO_RESULTS = re.compile(r"\]\((?:\.\./)+benchmarks/results/([\w-]+\.md)\)")


def contents(text: str) -> str:
    """The page with a hidden table of contents for each of its lists."""
    caption, *rest = _HEADING.split(text)
    sections = [("", caption), *zip(rest[::2], rest[1::2], strict=True)]
    trees = [_tree(title, entries) for title, body in sections if (entries := _ENTRY.findall(body))]
    return "\n\n".join([text, *trees])


def _tree(caption: str, entries: list[str]) -> str:
    options = [":hidden:", ":titlesonly:", *([f":caption: {caption}"] if caption else [])]
    return "\n".join(["```{toctree}", *options, "", *entries, "```"])


def copy_results(app: Sphinx) -> None:
    """Copy the results of the benchmarks, which are outside of `docs`, into the site."""
    into = Path(app.srcdir) / _RESULTS
    into.mkdir(parents=True, exist_ok=True)
    sources = {path.name: path for path in (Path(app.srcdir).parent / "benchmarks" / "results").glob("*.md")}
    for old in into.glob("*.md"):
        if old.name not in sources:
            old.unlink()
    for name, source in sources.items():
        text = f"---\norphan: true\n---\n\n{source.read_text(encoding='utf-8')}"
        target = into / name
        if not target.exists() or target.read_text(encoding="utf-8") != text:  # Sphinx does not read an unchanged page again
            target.write_text(text, encoding="utf-8")


def on_source_read(_: Sphinx, page: str, source: list[str]) -> None:
    """Adapt the text of a page: links to results, and tables of contents."""
    source[0] = _LINK_TO_RESULTS.sub(rf"](/{_RESULTS}/\1)", source[0])
    if page in _CONTENTS:
        source[0] = contents(source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension with Sphinx."""
    app.connect("builder-inited", copy_results)
    app.connect("source-read", on_source_read)
    return {"parallel_read_safe": True}
