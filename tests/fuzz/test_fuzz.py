"""Every reader takes its valid file, any editor's line ends, and refuses whatever else with one line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from file_readers import READERS, Reader
from run import READ, REFUSED, outcomes

from efface.datasets import READERS as DATASETS

BY_NAMES_OF_FILES = {"agedb", "jaffe", "orl", "utkface"}
"""Datasets without a file that says something."""


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_a_valid_file_is_read_and_some_others_are_read_or_refused(tmp_path: Path, reader: Reader) -> None:
    reader.make(tmp_path)
    reader.read(tmp_path)
    assert {said for _, said in outcomes(reader, 0, 10)} <= {READ, REFUSED}


@pytest.mark.parametrize("reader", [one for one in READERS.values() if one.kind != "binary"], ids=lambda one: one.name)
@pytest.mark.parametrize("ends", ["\r\n", "\n\n", "\r"])
def test_a_byte_order_mark_and_other_line_ends_change_nothing(tmp_path: Path, reader: Reader, ends: str) -> None:
    reader.make(tmp_path)
    expected = reader.read(tmp_path)
    for path in [path for pattern in reader.mutable for path in tmp_path.glob(pattern)]:
        if path.name in ("header.json", "record.json"):  # parts of a binary file
            return
        if path.suffix == ".csv" and path.parent.name == "faces" and ends == "\r":
            return  # written by efface itself, where a carriage return is part of a cell
        text = path.read_text(encoding="utf-8").replace("\n", ends)
        path.write_text("\ufeff" + text, encoding="utf-8", newline="")
    assert reader.read(tmp_path) == expected


@pytest.mark.parametrize(
    "reader", [one for one in READERS.values() if "*.csv" in one.mutable], ids=lambda one: one.name
)
def test_a_comma_after_each_row_changes_nothing(tmp_path: Path, reader: Reader) -> None:
    reader.make(tmp_path)
    expected = reader.read(tmp_path)
    for path in tmp_path.glob("*.csv"):
        head, *rows = path.read_text(encoding="utf-8").splitlines()
        path.write_text("\n".join([head, *(f"{row}," for row in rows)]), encoding="utf-8")
    assert reader.read(tmp_path) == expected


def test_every_dataset_has_its_files_mutated() -> None:
    others = {"folder": "manifest", "insightface": "index"}
    assert {others.get(name, name) for name in DATASETS} - BY_NAMES_OF_FILES <= READERS.keys()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
def test_thousands_of_mutations_are_read_or_refused(reader: Reader) -> None:
    counts = Counter(said for _, said in outcomes(reader, 10**6, 1500))
    assert set(counts) <= {READ, REFUSED}
    assert counts[REFUSED] > 100
