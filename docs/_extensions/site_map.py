"""Makes a site of pages that are also read as plain files: tables of contents from lists, and links that lead out of `docs`."""

import re
from pathlib import Path

from sphinx.application import Sphinx

# Pages whose lists of links are tables of contents; a heading of the second level above a list is its caption.
_CONTENTS = ("index", "decisions/README")
_RESULTS = "generated/results"
_HEADING = re.compile(r"^## (.+)$", re.MULTILINE)
_ENTRY = re.compile(r"^- \[.+?\]\(([^)#:]+)\.md\)", re.MULTILINE)
_LINK_TO_RESULTS = re.compile(r"\]\((?:\.\./)+benchmarks/results/([\w-]+\.md)\)")


def contents(text: str) -> str:
    """The page, and for each of its lists a hidden table of contents."""
    caption, *rest = _HEADING.split(text)
    sections = [("", caption), *zip(rest[::2], rest[1::2], strict=True)]
    trees = [_tree(title, entries) for title, body in sections if (entries := _ENTRY.findall(body))]
    return "\n\n".join([text, *trees])


def _tree(caption: str, entries: list[str]) -> str:
    options = [":hidden:", ":titlesonly:", *([f":caption: {caption}"] if caption else [])]
    return "\n".join(["```{toctree}", *options, "", *entries, "```"])


def copy_results(app: Sphinx) -> None:
    """Bring the tables of the benchmarks, which lie outside `docs`, into the site, as pages beside all others."""
    into = Path(app.srcdir) / _RESULTS
    into.mkdir(parents=True, exist_ok=True)
    sources = {path.name: path for path in (Path(app.srcdir).parent / "benchmarks" / "results").glob("*.md")}
    for old in into.glob("*.md"):
        if old.name not in sources:
            old.unlink()
    for name, source in sources.items():
        text = f"---\norphan: true\n---\n\n{source.read_text(encoding='utf-8')}"
        target = into / name
        if not target.exists() or target.read_text(encoding="utf-8") != text:  # an unchanged page is not read again
            target.write_text(text, encoding="utf-8")


def on_source_read(_: Sphinx, page: str, source: list[str]) -> None:
    """Prepare the text of a page."""
    source[0] = _LINK_TO_RESULTS.sub(rf"](/{_RESULTS}/\1)", source[0])
    if page in _CONTENTS:
        source[0] = contents(source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", copy_results)
    app.connect("source-read", on_source_read)
    return {"parallel_read_safe": True}
