"""Order statistics of more numbers than are held at once: exact, by counting bits, in two passes over blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

HALF = 16
"""Bits of a float32 that one pass settles."""


def order_statistics(
    passed: Callable[[], Iterable[tuple[NDArray[np.float32], int]]], places: Sequence[int]
) -> list[np.float32]:
    """The numbers that would stand at these places (from 0) if all were sorted.

    passed: makes a pass over all numbers, in blocks of any shape with how often each block's numbers count (-1 takes
    out what another block brought); the second pass must bring the same. Not for NaN. What is held beside a block
    are 2^16 counters for each place (radix selection, most significant digits first: Knuth, TAOCP 3, 5.2.5).
    """
    upper = counted((ordered_bits(block) >> HALF, times) for block, times in passed())
    digits = [located(upper, place) for place in places]
    lower = np.zeros((len(places), 1 << HALF), np.int64)
    for block, times in passed():
        bits = ordered_bits(block)
        for counts, (digit, _) in zip(lower, digits, strict=True):
            counts += times * histogram(bits[bits >> HALF == digit] & 0xFFFF)
    return [
        number_of((digit << HALF) | located(counts, rest)[0])
        for counts, (digit, rest) in zip(lower, digits, strict=True)
    ]


def counted(blocks: Iterable[tuple[NDArray[np.integer[Any]], int]]) -> NDArray[np.int64]:
    """(2^16,) how often each digit stands in all blocks."""
    counts = np.zeros(1 << HALF, np.int64)
    for digits, times in blocks:
        counts += times * histogram(digits)
    return counts


def histogram(digits: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """(2^16,) how often each digit stands there."""
    counts: NDArray[np.int64] = np.bincount(digits.ravel(), minlength=1 << HALF)
    return counts


def located(counts: NDArray[np.int64], place: int) -> tuple[int, int]:
    """The digit at a place of the sorted digits, and the place among the equal ones."""
    upto = counts.cumsum()
    digit = int(np.searchsorted(upto, place, "right"))
    return digit, place - int(upto[digit] - counts[digit])


def ordered_bits(values: NDArray[np.float32]) -> NDArray[np.uint32]:
    """Whole numbers in the order of these numbers: the sign's bit turned over, of negative ones all bits."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return bits ^ (np.uint32(0x80000000) | (np.uint32(0) - (bits >> np.uint32(31))))


def number_of(bits: int) -> np.float32:
    """The number whose `ordered_bits` these are."""
    raw = bits ^ 0x80000000 if bits & 0x80000000 else bits ^ 0xFFFFFFFF
    return np.uint32(raw).view(np.float32)
