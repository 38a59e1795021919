"""Files appear whole or not at all."""

from pathlib import Path

import pytest

from efface.files import replacing, write_text


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
