"""Order statistics in blocks against a sort of everything."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from efface.measures.selection import number_of, order_statistics, ordered_bits

RNG = np.random.default_rng(0)
Floats = NDArray[np.float32]


@pytest.mark.parametrize(
    "values",
    [
        RNG.normal(size=(40, 25)),
        RNG.integers(-2, 3, (40, 25)),
        np.full((40, 25), 0.3),
        np.geomspace(1e-38, 1e38, 1000).reshape(40, 25) * RNG.choice([-1, 1], (40, 25)),
    ],
)
def test_what_stands_at_a_place_is_what_a_sort_puts_there(values: Floats) -> None:
    values = values.astype(np.float32)
    places = [0, 1, 499, 990, 999]
    found = order_statistics(lambda: ((some, 1) for some in np.split(values, 8)), places)
    assert found == np.sort(values.ravel())[places].tolist()


def test_what_is_taken_out_does_not_count() -> None:
    values, out = RNG.normal(size=200).astype(np.float32), np.arange(0, 200, 3)

    def passed() -> Iterator[tuple[Floats, int]]:
        yield values, 1
        yield values[out], -1

    left = np.sort(np.delete(values, out))
    assert order_statistics(passed, [0, 60, len(left) - 1]) == left[[0, 60, -1]].tolist()


def test_bits_are_in_the_order_of_the_numbers_and_give_them_back() -> None:
    values = np.sort(np.append(RNG.normal(size=500), [0.0, -1e-40, np.inf, -np.inf])).astype(np.float32)
    bits = ordered_bits(values)
    assert (bits[1:] >= bits[:-1]).all()
    assert [number_of(int(one)) for one in bits] == values.tolist()
