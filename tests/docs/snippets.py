"""Every block of code and every command of the documentation, where it stands."""

import re
import shlex
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = (*sorted(DOCS.glob("*.md")), ROOT / "README.md")
SHELL = ("console", "sh", "bash")

_BLOCK = re.compile(r"^```([^\n`]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"`((?:vaestar|python -m|\.venv/bin/python -m|make) [^`]*)`")


@dataclass(frozen=True)
class Snippet:
    """A block: its page, its language, how many of this language stand before it on the page, and what it holds."""

    page: str
    language: str
    number: int
    text: str

    def __str__(self) -> str:
        return f"{self.page}-{self.language}-{self.number}"


@dataclass(frozen=True)
class Command:
    """A line of a shell: its page, and the words without prompt and comment."""

    page: str
    line: str

    def __str__(self) -> str:
        return f"{self.page}: {self.line}"

    @property
    def words(self) -> list[str]:
        return shlex.split(self.line)


@cache
def snippets(*languages: str) -> tuple[Snippet, ...]:
    """All blocks of these languages, or all; in the order of the pages."""
    found, counted = [], {}
    for page in PAGES:
        for language, text in _BLOCK.findall(page.read_text(encoding="utf-8")):
            number = counted[page.name, language] = counted.get((page.name, language), -1) + 1
            found.append(Snippet(page.name, language, number, text))
    return tuple(s for s in found if not languages or s.language in languages)


def snippet(page: str, language: str, number: int = 0) -> str:
    """What one block holds."""
    return next(s.text for s in snippets(language) if (s.page, s.number) == (page, number))


@cache
def commands() -> tuple[Command, ...]:
    """All lines of shells; of a block with prompts only those behind one, since the others are what is printed."""
    found = []
    for block in snippets(*SHELL):
        lines = block.text.replace("\\\n", " ").splitlines()
        prompted = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        for line in prompted or lines:
            words = " ".join(shlex.quote(w) if w not in (">", "&&") else w for w in shlex.split(line, comments=True))
            if words:
                found.append(Command(block.page, words))
    return tuple(found)


@cache
def mentioned() -> tuple[Command, ...]:
    """All commands that stand in the text, which may hold placeholders."""
    found = []
    for page in PAGES:
        text = _BLOCK.sub("", page.read_text(encoding="utf-8"))
        found += [Command(page.name, " ".join(line.split()).removeprefix(".venv/bin/")) for line in _INLINE.findall(text)]
    return tuple(found)
