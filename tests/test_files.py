"""Files appear whole or not at all, and are read whatever program wrote them, or refused with one line."""

import os
import socket
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from conftest import refusal
from efface import files
from efface.errors import InputError, refusing
from efface.files import read_bytes, read_csv, read_json, read_lines, read_text, toml_of, whole_number

# Text


@pytest.mark.parametrize(
    "content",
    [
        "Änne\nBo\n".encode(),
        "Änne\r\nBo\r\n".encode(),
        "Änne\rBo\r".encode(),
        "\ufeffÄnne\r\n\r\nBo".encode(),
        "Änne\nBo\n".encode("utf-16"),
        "\ufeffÄnne\r\nBo".encode("utf-16-be"),
    ],
)
def test_text_is_read_whatever_editor_saved_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.txt").write_bytes(content)
    assert read_lines(tmp_path / "a.txt", "list") == ["Änne", "Bo"]


def test_only_line_ends_end_lines(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("a\x85b\x0cc\u2028d\n".encode())
    assert read_lines(tmp_path / "a.txt", "list") == ["a\x85b\x0cc\u2028d"]


def test_text_of_another_encoding_is_read_where_its_kind_has_one(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("Å".encode("latin-1"))
    assert read_text(tmp_path / "a.txt", "list", otherwise="latin-1") == "Å"
    assert "a.txt is not a text file in UTF-8" in refusal(read_text, tmp_path / "a.txt", "list")


def test_what_is_no_file_of_text_is_refused_and_never_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nul.txt").write_bytes(b"a\0b")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
    with (tmp_path / "sparse.txt").open("wb") as sparse:
        sparse.truncate(2**40)
    for name, words in {
        "nul.txt": "holds a NUL",
        "absent": "does not exist",
        "pipe": "is a pipe",
        "socket": "is a device or socket",
        ".": "is a folder",
        "a" * 300: "File name too long",
        "a\0b": "cannot be read",
        "nul.txt/x": "Not a directory",
        "sparse.txt": "expected at most",
    }.items():
        assert words in refusal(read_text, tmp_path / name, "list")
    assert "is a device" in refusal(read_bytes, Path("/dev/zero"), "list")

    def no_memory(_path: Path) -> bytes:
        raise MemoryError

    monkeypatch.setattr(Path, "read_bytes", no_memory)
    assert "does not fit into memory" in refusal(read_bytes, tmp_path / "nul.txt", "list")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "1" * 5000, "", "nope", '{"a": 1} 2'])
def test_what_is_no_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert "a.json is not JSON" in refusal(read_json, tmp_path / "a.json", "record")


# Tables


@pytest.mark.parametrize(
    "text",
    [
        'key,name\na,"x, y"\nb,\n',
        '\ufeffkey,name\r\na,"x, y"\r\nb,\r\n',
        'key,name,\na,"x, y",\nb,,\n',
        'key,name\na,"x, y",\nb,,,,\n',
        'key, name\n\na, "x, y"\n,\nb,\n\n',
        ',key,name\n0,a,"x, y"\n1,b,\n',
        'key,name\ra,"x, y"\rb,',
    ],
)
def test_a_csv_is_read_whatever_program_wrote_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert read_csv(tmp_path / "a.csv", "table").to_dict("list") == {"key": ["a", "b"], "name": ["x, y", ""]}


def test_a_csv_keeps_words_as_words(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("key,name\n007,NA\n1.0,null\n")
    assert read_csv(tmp_path / "a.csv", "table").to_dict("list") == {"key": ["007", "1.0"], "name": ["NA", "null"]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("\n,,\n", "is empty"),
        ("a,b\n1,2\n1,2,3\n", "line 3 has 3 cells: expected 2"),
        ("a,b\n1,2\n1\n", "line 3 has 1 cells: expected 2"),
        ("a,b,\n1,2,3\n", "line 2 has 3 cells: expected 2"),
        ("a,b,a\n1,2,3\n", "the column 'a' twice"),
        ('a,b\n1,"' + "x" * 200_000 + "\n", "is no CSV"),
    ],
)
def test_a_csv_whose_cells_cannot_be_told_apart_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "a.csv").write_text(text)
    assert words in refusal(read_csv, tmp_path / "a.csv", "table")


def test_numbers_are_made_of_ten_digits() -> None:
    assert [whole_number(word) for word in ("0", "007", "9" * 18)] == [0, 7, 10**18 - 1]
    for word in ("", "-1", "+1", "1.0", "1_0", " 1", "²", "٣", "1" * 19, "1" * 5000):
        assert whole_number(word) is None


# Refusals


def test_a_refusal_is_one_line_that_a_terminal_only_shows() -> None:
    said = str(InputError("a\nb\x1b[2J\u202e\ud800 é 😀 " + "x" * 10_000))
    assert said.startswith("a\\nb\\x1b[2J\\u202e\\ud800 é 😀 xxx")
    assert said.isprintable()
    assert len(said) < 3000


def test_whatever_a_library_raises_is_a_refusal_but_an_interruption_is_none() -> None:
    for error in (KeyError("x"), MemoryError(), RecursionError("a\nb"), OverflowError("much")):
        with pytest.raises(InputError, match=r"^a\.bin is broken \(.+\)$"), refusing("a.bin is broken"):
            raise error
    with pytest.raises(InputError, match=r"^mine$"), refusing("a.bin is broken"):
        raise InputError("mine")
    with pytest.raises(KeyboardInterrupt), refusing("a.bin is broken"):
        raise KeyboardInterrupt


def test_there_is_one_reader_of_text() -> None:
    """What a user gives is read by `efface.files` alone, so that no reader forgets a byte order mark."""
    package = Path(files.__file__).parent
    own = {"files.py", "functions.py", "letter.py", "page.py", "forget_page.py", "signatures.py", "environment.py"}
    """What these read was written by efface, installed with it, or is the system's."""
    for path in package.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name not in own:
            assert "pd.read_csv(path" not in text, path
            assert 'read_text(encoding="utf-8' not in text, path


def test_tables_come_back_from_their_toml() -> None:
    tables: dict[str, Any] = {
        "model": 'a "b" \\ \x7f é 顔',
        "size": [112, 96],
        "yes": True,
        "day": date(2026, 11, 27),
        "controller": {"name": "line\nbreak", "share": 0.25},
        "deletions": [{"store": "photos"}, {"store": "gallery", "count": 3}],
    }
    assert tomllib.loads(toml_of(tables)) == tables
