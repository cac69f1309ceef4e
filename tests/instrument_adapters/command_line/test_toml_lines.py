"""Line numbers of values in TOML: the scanner finds exactly the values that `tomllib` reads."""

import time
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instrument_adapters.command_line.toml_lines import Path, find_line, find_lines
from tests.support.cpu import scaled

ALL_SORTS = '''# a comment with [brackets] and "quotes"
seed = 3
"quoted key" = 1
'literal.key' = 2
a.b.c = 5
"a"."d e" = 6

[search]   # comment
windows_px = [
    7,  # seven ] }
    11,
]
text = "# no comment \\" ] }"
literal = 'C:\\path'
long = """
[not.a.table]
key = "1" \\"""
"""
longer = \'\'\'
x = ''"
\'\'\'
quotes = """""two"""""
options = { a = 1, "b c" = [1, { d = 2 }], e.f = 3 }
when = 2026-01-02T03:04:05Z
empty = []
nothing = {}

[ search . "deep er" ]
x = 1
[[many]]
x = 1
[[many]]
x = 2
[many.inner]
y = 3
[[many.more]]
z = [[1, 2], [3]]
[last]
x = true'''


def paths_in(value: Any, path: Path = ()) -> Iterator[Path]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in items:
        yield (*path, key)
        yield from paths_in(part, (*path, key))


def test_every_value_that_tomllib_sees_has_a_line_and_no_other() -> None:
    assert set(find_lines(ALL_SORTS)) == set(paths_in(tomllib.loads(ALL_SORTS)))


@pytest.mark.parametrize(
    ("path", "start"),
    [
        (("seed",), "seed"),
        (("quoted key",), '"quoted key"'),
        (("literal.key",), "'literal.key'"),
        (("a", "b", "c"), "a.b.c"),
        (("a", "d e"), '"a"."d e"'),
        (("search",), "[search]"),
        (("search", "windows_px"), "windows_px"),
        (("search", "windows_px", 1), "    11"),
        (("search", "longer"), "longer"),
        (("search", "options", "b c", 1, "d"), "options"),
        (("search", "deep er", "x"), "x = 1"),
        (("many", 1, "x"), "x = 2"),
        (("many", 1, "inner"), "[many.inner]"),
        (("many", 1, "more", 0, "z", 1, 0), "z ="),
        (("last", "x"), "x = true"),
    ],
)
@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_value_is_found_in_its_line(path: Path, start: str, line_end: str) -> None:
    lines = find_lines(ALL_SORTS.replace("\n", line_end))
    assert ALL_SORTS.split("\n")[lines[path] - 1].startswith(start)


def test_a_missing_value_is_located_at_its_enclosing_table() -> None:
    lines = find_lines("\n[scan]\nlow = 1\n")
    assert find_line(lines, ("scan", "high")) == 2
    assert find_line(lines, ("scan", "low", "int")) == 3
    assert find_line(lines, ("search", "seeds")) is None


KEYS = st.text("ab.'\" \\\n#é]=", min_size=1, max_size=4)
SCALARS = st.one_of(
    st.integers(-(2**60), 2**60), st.booleans(), st.floats(allow_nan=False), st.text("a'\"\\\n#[]{},=\té", max_size=9)
)
VALUES = st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v, max_size=3), max_leaves=8)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=5)


def quoted(text: str) -> str:
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04X}" for c in text)
    return f'"{escaped}"'


def literal(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(k)} = {literal(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[\n" + ",\n".join(literal(v) for v in value) + "\n]"
    if isinstance(value, str):
        return "'" + value + "'" if value.isalpha() else quoted(value)
    return str(value).lower()


def written(value: dict[str, Any], prefix: str = "") -> str:
    """A document with values first, then every second table under a heading and the others inline."""
    tables = [k for i, (k, v) in enumerate(value.items()) if isinstance(v, dict) and i % 2]
    text = "".join(f"{quoted(k)} = {literal(v)} # = [\n" for k, v in value.items() if k not in tables)
    for key in tables:
        name = f"{prefix}{quoted(key)}"
        text += f"\n[{name}]\n{written(value[key], name + '.')}"
    return text


@pytest.mark.slow
@settings(max_examples=60)
@given(DOCUMENTS)
def test_any_file_is_scanned_as_tomllib_reads_it(document: dict[str, Any]) -> None:
    text = written(document)
    assert set(find_lines(text)) == set(paths_in(tomllib.loads(text)))


@pytest.mark.slow
def test_a_long_file_is_scanned_quickly() -> None:
    text = "".join(f"key_{i} = {i}\n" for i in range(100_000))
    before = time.process_time()
    assert find_lines(text)[("key_99999",)] == 100_000
    assert time.process_time() - before < scaled(5)
