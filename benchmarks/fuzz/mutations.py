"""Structure-aware mutations: JSON by its fields, text by lines and words, everything else by its bytes."""

import copy
import json
import random
import struct
from collections.abc import Callable, Sequence
from typing import Any

Random = random.Random

NUMBERS = (
    0,
    -1,
    1,
    2,
    3,
    255,
    256,
    65535,
    65536,
    2**24,
    2**31 - 1,
    2**31,
    2**32,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64,
    10**12,
    10**30,
)
REALS = (0.0, -0.0, 1e-320, 1e-12, 1.5, 1e12, 1e308, -1e308, float("nan"), float("inf"), float("-inf"))
TEXTS = (
    *(
        "",
        " ",
        "a",
        "0",
        "-1",
        "NaN",
        "true",
        "null",
        "1e999",
        "\x00",
        "\r\n",
        "\u202e",
        "\ufeff",
        "\ud800",
        "\U0001f52c",
        "é" * 40,
    ),
    *("../../etc/passwd", "C:\\x", "=1+1", "'; DROP TABLE event;--", "%s%n", "{}", "[[", "a" * 97, "a" * 2001, "x" * 70_000),
    *("2026-01-02T03:04:05Z", "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-02-30T00:00:00Z", "1" * 400),
)
_PACKINGS = ("<b", "<h", ">h", "<i", ">i", "<q", ">q", "<f", "<d")


def some_number(rng: Random) -> int:
    """An integer at the limits of common integer types."""
    number = rng.choice(NUMBERS)
    return number if rng.random() < 0.7 else -number


def any_value(rng: Random) -> Any:
    """A value of any JSON type."""
    kind = rng.randrange(10)
    if kind == 0:
        return rng.choice((None, True, False))
    if kind < 3:
        return some_number(rng)
    if kind < 5:
        return rng.choice(REALS)
    if kind < 8:
        return rng.choice(TEXTS)
    if kind == 8:
        return nested(rng.choice((1, 2, 50, 300)), rng.random() < 0.5)
    return rng.choice(([], {}, [0] * 9, {"a": 1}, [[]] * 5, {"": {}}, [None], list(range(2000))))


def nested(depth: int, objects: bool) -> Any:
    """Lists, or objects, nested to the given depth."""
    value: Any = 0
    for _ in range(depth):
        value = {"a": value} if objects else [value]
    return value


def mutated_json(value: Any, rng: Random) -> Any:
    """`value` with one to four of its fields changed, removed, renamed, doubled or swapped."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        places = [(value, key) for value, key in _places(value)]
        if not places:
            return any_value(rng)
        container, key = rng.choice(places)
        _change(container, key, places, rng)
    return value


def _places(value: Any) -> list[tuple[Any, Any]]:
    found, todo = [], [value]
    while todo and len(found) < 400:
        one = todo.pop()
        keys = list(one) if isinstance(one, dict) else range(min(len(one), 50)) if isinstance(one, list) else ()
        for key in keys:
            found.append((one, key))
            todo.append(one[key])
    return found


def _change(container: Any, key: Any, places: Sequence[tuple[Any, Any]], rng: Random) -> None:
    how = rng.randrange(8)
    if how == 0:
        del container[key]
    elif how == 1 and isinstance(container, dict):
        container[rng.choice(TEXTS)] = container.pop(key)
    elif how == 2 and isinstance(container, dict):
        container[rng.choice(("x", "id", "type", "version", *TEXTS))] = any_value(rng)
    elif how == 3 and isinstance(container, list):
        container.extend([copy.deepcopy(container[key])] * rng.choice((1, 3, 40)))
    elif how == 4:
        other, at = rng.choice(places)
        try:
            container[key] = copy.deepcopy(other[at])
        except (KeyError, IndexError, RecursionError):
            container[key] = None
    elif how == 5:
        container[key] = _near(container[key], rng)
    else:
        container[key] = any_value(rng)


def _near(value: Any, rng: Random) -> Any:
    """A slightly different value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + rng.choice((-1, 1, -2, 16, 1000))
    if isinstance(value, float):
        return value * rng.choice((-1.0, 0.5, 2.0, 1e6, 1e-6)) + rng.choice((0.0, 1e-9))
    if isinstance(value, str):
        at = rng.randrange(len(value) + 1)
        return value[:at] + rng.choice(("", "a", "Z", "9", " ", "-", "\u00e9", "\x00")) + value[at + rng.randrange(2) :]
    return any_value(rng)


def json_text(value: Any, rng: Random) -> bytes:
    """`value` as JSON text; sometimes with a duplicate key, other white space, or invalid syntax."""
    try:
        text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    except RecursionError:
        text = "[" * 5000
    how = rng.randrange(40)
    if how == 0 and text.startswith("{") and len(text) > 2:
        text = '{"id":"again",' + text[1:]
    elif how == 1:
        text = rng.choice(("\ufeff", "\n\t ", "//", "[", "")) + text + rng.choice(("", "}", "\x00", " " * 1000, text[:50]))
    elif how == 2:
        text = text.replace(":", rng.choice((": " * 2, "=", ":" + "[" * 2000, ":-")), 1)
    return text.encode("utf-8", "surrogatepass")


def mutated_bytes(raw: bytes, rng: Random, others: Sequence[bytes] = ()) -> bytes:
    """`raw` with one to four random changes: flipped bits, cuts, insertions, pieces of others, numbers, zeros, repetitions."""
    out = bytearray(raw)
    for _ in range(rng.choice((1, 1, 2, 4))):
        _MUTATIONS[rng.randrange(len(_MUTATIONS))](out, rng, others)
    return bytes(out)


def _flip(out: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    for _ in range(rng.choice((1, 2, 8))):
        if out:
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)


def _cut(out: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    del out[rng.randrange(len(out) + 1) :]


def _remove(out: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    at = rng.randrange(len(out) + 1)
    del out[at : at + rng.choice((1, 2, 4, 30))]


def _insert(out: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    at = rng.randrange(len(out) + 1)
    out[at:at] = rng.randbytes(rng.choice((1, 2, 4, 40)))


def _splice(out: bytearray, rng: Random, others: Sequence[bytes]) -> None:
    other = rng.choice(others) if others else bytes(out)
    begin, at = rng.randrange(len(other) + 1), rng.randrange(len(out) + 1)
    piece = other[begin : begin + rng.randrange(1, 400)]
    out[at : at + rng.choice((0, len(piece)))] = piece


def _number(out: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    form = rng.choice(_PACKINGS)
    size = struct.calcsize(form)
    if len(out) < size:
        return
    at = rng.randrange(len(out) - size + 1) // rng.choice((1, 2, 4)) * rng.choice((1, 2, 4))
    if at + size > len(out):
        return
    bits = 8 * size
    if form[1] in "fd":
        struct.pack_into("<d" if size == 8 else "<I", out, at, rng.choice(REALS) if size == 8 else rng.getrandbits(32))
    else:
        number = some_number(rng)
        out[at : at + size] = (number % (1 << bits)).to_bytes(size, "little" if form[0] == "<" else "big")


def _zeros(out: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    at = rng.randrange(len(out) + 1)
    end = min(len(out), at + rng.choice((1, 8, 64, 4096)))
    out[at:end] = bytes(end - at)


def _repeat(out: bytearray, rng: Random, _: Sequence[bytes]) -> None:
    at = rng.randrange(len(out) + 1)
    piece = bytes(out[at : at + rng.choice((1, 16, 200))])
    out[at:at] = piece * rng.choice((1, 2, 50))


_MUTATIONS: tuple[Callable[[bytearray, Random, Sequence[bytes]], None], ...] = (
    *(_flip, _flip, _cut, _remove, _insert, _splice),
    *(_number, _number, _zeros, _repeat),
)


def mutated_text(text: str, rng: Random) -> str:
    """`text` with one to three random changes: a line removed, doubled or inserted, or a word replaced by any value."""
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 3))):
        at, how = rng.randrange(len(lines)), rng.randrange(6)
        if how == 0:
            del lines[at]
        elif how == 1:
            lines.insert(at, rng.choice(lines))
        elif how == 2:
            lines.insert(at, rng.choice(TEXTS))
        else:
            lines[at] = _other_word(lines[at], rng)
        lines = lines or [""]
    return "\n".join(lines)


def _other_word(line: str, rng: Random) -> str:
    separator = next((s for s in (" = ", ",", ";", "=", " ") if s in line), " ")
    words = line.split(separator)
    value = any_value(rng)
    words[rng.randrange(len(words))] = value if isinstance(value, str) else json.dumps(value)[:70_000]
    return separator.join(words)
