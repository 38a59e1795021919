"""Rows put together in one piece and matrices gone through in blocks, against NumPy's own way."""

from __future__ import annotations

import tempfile
import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import refusal
from efface.data import vectors
from efface.data.vectors import BLOCK, Rows, blocks

RNG = np.random.default_rng(0)


def test_rows_are_those_of_concatenation_and_may_be_fewer_than_announced() -> None:
    batches = [RNG.normal(size=(size, 2, 3)).astype(np.float32) for size in (4, 4, 1)]
    rows = Rows(12)
    for batch in batches:
        rows.add(batch)
    assert np.array_equal(rows.given, np.concatenate(batches))
    assert rows.given.dtype == np.float32


def test_rows_take_memory_for_themselves_alone() -> None:
    tracemalloc.start()
    rows = Rows(5000)
    for _ in range(100):
        rows.add(np.ones((50, 256), np.float32))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.05 * rows.given.nbytes


def test_no_row_and_rows_too_many_are_errors() -> None:
    with pytest.raises(ValueError, match="no row was given"):
        assert Rows(3).given
    rows = Rows(3)
    rows.add(np.zeros((2, 1)))
    with pytest.raises(ValueError, match="rows 2 to 4"):
        rows.add(np.zeros((2, 1)))
    with pytest.raises(ValueError, match="expected 3 of"):
        rows.add(np.zeros((1, 2)))


def test_many_rows_are_kept_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    batches = [RNG.normal(size=(size, 8)).astype(np.float32) for size in (40, 40, 7)]
    assert not isinstance(filled(batches), np.memmap)
    monkeypatch.setattr(vectors, "IN_MEMORY", 1000)
    found = filled(batches)
    assert isinstance(found, np.memmap)
    assert np.array_equal(found, np.concatenate(batches))


def test_a_disk_that_is_full_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "wb", buffering=0))  # noqa: SIM115
    assert "No space left on device" in refusal(Rows(3, on_disk=True).add, np.zeros((2, 1)))


def filled(batches: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    rows = Rows(100)
    for batch in batches:
        rows.add(batch)
    return rows.given


@pytest.mark.parametrize(("rows", "columns"), [(0, 5), (7, 0), (1000, 3), (9, BLOCK // 2), (3, 2 * BLOCK)])
def test_blocks_cover_every_row_once_and_hold_no_more_than_they_may(rows: int, columns: int) -> None:
    found = list(blocks(rows, columns))
    assert [row for some in found for row in range(rows)[some]] == list(range(rows))
    assert all((some.stop - some.start) * columns <= BLOCK or some.stop - some.start == 1 for some in found)
