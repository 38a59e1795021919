"""Files appear whole or not at all, are on the disk before they take their name, and hold no formula."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import refusal
from efface.errors import InputError
from efface.files import (
    exclusive,
    inert_cells,
    make_folder,
    plain_cells,
    read_csv,
    replacing,
    save_columns,
    write_bytes,
    write_csv,
    write_text,
)


def test_nothing_is_left_after_an_error_and_the_old_file_stands(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")

    def fail() -> None:
        with replacing(tmp_path / "a.txt") as part:
            part.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_the_new_takes_the_place_of_the_old(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "old")
    assert write_text(tmp_path / "a.txt", "new").read_text() == "new"
    long = tmp_path / ("é" * 127)
    assert write_bytes(long, b"as long as a name may be").read_bytes().startswith(b"as long")
    assert {path.name for path in tmp_path.iterdir()} == {"a.txt", long.name}


def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    flush, rename = os.fsync, os.replace

    def flushed(descriptor: int) -> None:
        done.append(f"fsync {os.fstat(descriptor).st_ino}")
        flush(descriptor)

    def renamed(one: Path, other: Path) -> None:
        done.append("rename")
        rename(one, other)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(os, "replace", renamed)
    file = write_text(tmp_path / "a.txt", "text")
    assert done == [f"fsync {file.stat().st_ino}", "rename", f"fsync {tmp_path.stat().st_ino}"]


@dataclass(frozen=True)
class Columns:
    """An array."""

    numbers: Any


WRITERS: list[Callable[[Path], object]] = [
    lambda path: write_text(path, "x" * 100_000),
    lambda path: save_columns(Columns(np.random.default_rng(0).random(100_000)), path),
    lambda path: write_csv(path, pd.DataFrame({"a": range(30_000)})),
]


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_what_the_disk_answers_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: Callable[[Path], object], number: int
) -> None:
    def answer(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", answer)
    said = refusal(writer, tmp_path / "a.txt")
    assert f"a.txt cannot be written: {os.strerror(number)}" in said
    assert list(tmp_path.iterdir()) == []


FULL = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_written_files import WRITERS
from efface.errors import InputError
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
for number, writer in enumerate(WRITERS):
    try:
        writer(Path(sys.argv[1]) / str(number))
    except InputError as error:
        print(error)
"""


def test_a_file_that_may_not_grow_is_one_line(tmp_path: Path) -> None:
    words = [sys.executable, "-c", FULL, str(tmp_path), str(Path(__file__).parent)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert [line.split(" ", 1)[1] for line in done.stdout.splitlines()] == [
        "cannot be written: File too large; make room, or give another folder"
    ] * 3
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_answer_of_the_disk_passes(tmp_path: Path) -> None:
    def other() -> None:
        with replacing(tmp_path / "a.txt"):
            (tmp_path / "of somebody else").read_text()

    with pytest.raises(FileNotFoundError):
        other()


def test_a_library_in_rust_says_it_in_its_message(tmp_path: Path) -> None:
    def full() -> None:
        with replacing(tmp_path / "a.safetensors"):
            raise RuntimeError("I/O error: No space left on device (os error 28)")

    assert "No space left on device; make room" in refusal(full)


def test_a_place_that_is_taken_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder" / "in it").mkdir(parents=True)
    assert "a file stands there" in refusal(make_folder, tmp_path / "file")
    assert "a file stands there" in refusal(make_folder, tmp_path / "file" / "below")
    assert "folder cannot be written" in refusal(write_text, tmp_path / "folder", "text")
    assert "cannot be written" in refusal(write_text, tmp_path / "nowhere" / "a", "text")


def test_a_lock_is_held_by_one_and_leaves_nothing(tmp_path: Path) -> None:
    def again() -> None:
        with exclusive(tmp_path / "lock", "somebody is at work"):
            pass

    with exclusive(tmp_path / "lock", "nobody"):
        assert refusal(again) == "somebody is at work"
    again()
    assert list(tmp_path.iterdir()) == []


# Tables


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1+2", "-1-2", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=", "-", "＝1", "-inf", "+-1"]
)
def test_no_cell_is_a_formula(tmp_path: Path, cell: str) -> None:
    table = pd.DataFrame({"key": [cell, "a"], cell: ["b", "c"]})
    write_csv(tmp_path / "a.csv", table)
    text = (tmp_path / "a.csv").read_bytes().decode()
    assert text.count("'" + cell) == 2
    assert pd.read_csv(io.StringIO(text), lineterminator="\n").to_numpy().tolist() == [["'" + cell, "b"], ["a", "c"]]


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    table = pd.DataFrame(
        {"a": [-0.5, 1e-9, -np.inf], "b": [-1, 2, 3], "c": ["-0.5", "+7", "-1e-5"], "d": [True, False, True]}
    )
    write_csv(tmp_path / "a.csv", table)
    assert (tmp_path / "a.csv").read_text() == "a,b,c,d\n-0.5,-1,-0.5,True\n1e-09,2,+7,False\n-inf,3,-1e-5,True\n"


@given(st.lists(st.text(alphabet="='+-@\t\r\n＝ab1.", max_size=6), min_size=1))
def test_texts_come_back_as_they_were(cells: list[str]) -> None:
    table = pd.DataFrame({"a": cells}, dtype=object)
    inert = inert_cells(table)
    assert not any(
        cell[:1] in tuple("=+-@\t\r\n＝") and not pd.Series([cell]).str.fullmatch(r"[-+]?[0-9.]+").all()
        for cell in inert["a"]
    )
    assert plain_cells(inert)["a"].tolist() == cells


def test_a_table_of_others_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("key,note\n'quoted',it's\n-5,'tis\n")
    assert plain_cells(read_csv(tmp_path / "a.csv", "table")).to_numpy().tolist() == [
        ["'quoted'", "it's"],
        ["-5", "'tis"],
    ]


def test_a_refusal_is_one_line_whatever_a_file_is_called() -> None:
    assert str(InputError("a\nb\x1b[2J\udcff")) == "a\\nb\\x1b[2J\\udcff"
