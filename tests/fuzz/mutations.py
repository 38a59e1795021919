"""A file as an attacker, a cut-off copy or another program would leave it: one mutation of a valid file's bytes."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from copy import deepcopy
from typing import Any

Change = Callable[[bytes, random.Random], bytes]

TOKENS = [
    *("", " ", "\t", "\n", "\r", "\r\n", "\0", "\ufeff", "\x85", "\u2028", "\ud800", "²", "٣", "é", "\u202e", "😀"),
    *(
        "0",
        "-1",
        "1.5",
        "1e999",
        "-1e999",
        "nan",
        "inf",
        "NaN",
        "Infinity",
        "9" * 400,
        "1" * 5000,
        str(2**31),
        str(2**63),
    ),
    *(
        str(-(2**63) - 1),
        "true",
        "false",
        "null",
        "None",
        "[]",
        "{}",
        '""',
        "''",
        '"',
        "'",
        ",",
        ",,,",
        ";",
        "\t\t",
        "/",
    ),
    *("..", "../../x", "a" * 300, "[" * 3000, "{" * 300, '{"a":' * 3000, "#", "=", "=1+1", "\\", "\\u0000", "\\ud800"),
]
"""Texts that readers stumble over."""
VALUES: list[Any] = [
    *(None, True, False, 0, 1, -1, 1.5, float("nan"), float("inf"), 2**31, 2**63, 10**400, "", "²", "\0", "a" * 300),
    *(
        [],
        {},
        [[]],
        [None],
        {"": None},
        {"a": {}},
        "true",
        "1",
        "../x",
        "module:function",
        -(2**63) - 1,
        1e308,
        [1, 2, 3],
    ),
]
"""Values of the wrong kind."""


def mutated(data: bytes, random_numbers: random.Random, kind: str) -> bytes:
    """The bytes with one to three changes; kind: "json", "text" or "binary"."""
    if kind == "json" and random_numbers.random() < 0.6:
        return changed_json(data, random_numbers)
    changes = [*ANYWHERE, *(IN_TEXT if kind in ("json", "text") else IN_BINARY)]
    for _ in range(random_numbers.choice((1, 1, 1, 2, 3))):
        change = random_numbers.choice(changes)
        data = change(data, random_numbers)
    return data


def changed_json(data: bytes, random_numbers: random.Random) -> bytes:
    """JSON with a value exchanged, left out, or doubled under another name."""
    plain = json.loads(data)
    places: list[tuple[Any, Any]] = []
    waiting = [plain]
    while waiting:
        one = waiting.pop()
        keys = one.keys() if isinstance(one, dict) else range(len(one)) if isinstance(one, list) else ()
        places += [(one, key) for key in keys]
        waiting += [one[key] for key in keys]
    holder, key = random_numbers.choice(places)
    elsewhere = [holder[key] for holder, key in random_numbers.sample(places, min(3, len(places)))]
    value = deepcopy(random_numbers.choice([*VALUES, *elsewhere]))
    how = random_numbers.random()
    if how < 0.7:
        holder[key] = value
    elif how < 0.85:
        del holder[key]
    elif isinstance(holder, dict):
        holder[random_numbers.choice(TOKENS)] = value
    return json.dumps(plain).encode("utf-8", "surrogatepass")


def flipped(data: bytes, random_numbers: random.Random) -> bytes:
    if not data:
        return b"\0"
    place = random_numbers.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << random_numbers.randrange(8)]) + data[place + 1 :]


def exchanged(data: bytes, random_numbers: random.Random) -> bytes:
    place = random_numbers.randrange(len(data) + 1)
    return data[:place] + random_numbers.randbytes(random_numbers.choice((1, 2, 4, 8))) + data[place + 8 :]


def cut(data: bytes, random_numbers: random.Random) -> bytes:
    return data[: random_numbers.randrange(len(data) + 1)]


def without(data: bytes, random_numbers: random.Random) -> bytes:
    start, end = sorted(random_numbers.randrange(len(data) + 1) for _ in range(2))
    return data[:start] + data[min(end, start + random_numbers.choice((1, 2, 8, 100, 10**9))) :]


def doubled(data: bytes, random_numbers: random.Random) -> bytes:
    start, end = sorted(random_numbers.randrange(len(data) + 1) for _ in range(2))
    place = random_numbers.randrange(len(data) + 1)
    return data[:place] + data[start:end] * random_numbers.choice((1, 1, 2, 30)) + data[place:]


def with_token(data: bytes, random_numbers: random.Random) -> bytes:
    place = random_numbers.randrange(len(data) + 1)
    return data[:place] + token(random_numbers) + data[place + random_numbers.choice((0, 0, 1, 4)) :]


def with_other_word(data: bytes, random_numbers: random.Random) -> bytes:
    """A number or a word in the place of another."""
    words = list(re.finditer(rb"[\w.+-]+", data))
    if not words:
        return token(random_numbers)
    word = random_numbers.choice(words)
    other = random_numbers.choice(words)[0] if random_numbers.random() < 0.3 else token(random_numbers)
    return data[: word.start()] + other + data[word.end() :]


def with_other_lines(data: bytes, random_numbers: random.Random) -> bytes:
    """Lines out of order, twice, or not there."""
    lines = data.split(b"\n")
    place, other = random_numbers.randrange(len(lines)), random_numbers.randrange(len(lines))
    how = random_numbers.random()
    if how < 0.3:
        lines[place], lines[other] = lines[other], lines[place]
    elif how < 0.6:
        lines.insert(place, lines[other])
    elif how < 0.8:
        del lines[place]
    else:
        lines[place] += random_numbers.choice((b",", b"\t", b" ", b",x", b"\r"))
    return b"\n".join(lines)


def with_other_number(data: bytes, random_numbers: random.Random) -> bytes:
    """Four or eight bytes as a length, an offset or a flag would be written."""
    size = random_numbers.choice((1, 2, 4, 8))
    number = random_numbers.choice((0, 1, 2, 127, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63, 2**64 - 1))
    place = random_numbers.randrange(len(data) + 1)
    content = (number & (1 << 8 * size) - 1).to_bytes(size, random_numbers.choice(("little", "big")))
    return data[:place] + content + data[place + size :]


def token(random_numbers: random.Random) -> bytes:
    chosen: str = random_numbers.choice(TOKENS)
    return chosen.encode("utf-8", "surrogatepass")


ANYWHERE: list[Change] = [flipped, exchanged, cut, without, doubled]
IN_TEXT: list[Change] = [with_token, with_token, with_other_word, with_other_word, with_other_lines]
IN_BINARY: list[Change] = [with_other_number, with_other_number, with_other_number, flipped, flipped, with_token]
