"""Face sets in insightface's formats, verification pairs, AgeDB and ORL: read as they lie, refused when broken."""

from __future__ import annotations

import pickle
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from conftest import SHARED, refusal
from efface.data.pairs import read_bin, read_pairs
from efface.data.photos import load
from efface.data.recordio import MAGIC, read_record
from efface.datasets import READERS
from efface.preparation.packed import open_packed
from efface.preparation.prepare import prepare
from efface.testing.layouts import picture_file, record_bytes, write_bin, write_rec

FACES = SHARED / "faces"
PEOPLE = [0, 0, 0, 1, 1, 2]


def flat_images(count: int = 6, side: int = 32) -> np.ndarray:
    """Images (n, 3, side, side) of one grey each, told apart even after JPEG."""
    return np.broadcast_to(
        np.arange(20, 20 + 10 * count, 10, dtype=np.uint8)[:, None, None, None], (count, 3, side, side)
    ).copy()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_rec(tmp_path / "set", flat_images(), PEOPLE)
    return tmp_path / "set"


# Records


def test_every_picture_of_a_record_file_is_found_with_its_person(folder: Path) -> None:
    table = READERS["insightface"].read(folder)
    assert table["key"].tolist() == [f"{number:07d}" for number in range(1, 7)]
    assert table["person"].tolist() == [f"{person:06d}" for person in PEOPLE]
    greys = [np.asarray(load(Path(path), upright=True)).mean() for path in table["path"]]
    assert greys == pytest.approx([20, 30, 40, 50, 60, 70], abs=1)


def test_records_are_packed_photo_by_photo(folder: Path, tmp_path: Path) -> None:
    reader = READERS["insightface"]
    prepare(reader.read(folder), tmp_path / "packed", card=reader.card, size=(16, 16), colour=True, eyes="none")
    face_table = open_packed(tmp_path / "packed")
    assert face_table.images.shape == (6, 3, 16, 16)
    assert face_table.images.mean((1, 2, 3)) == pytest.approx([20, 30, 40, 50, 60, 70], abs=1)


def test_a_large_set_is_indexed_without_being_held(tmp_path: Path) -> None:
    write_rec(tmp_path, np.repeat(flat_images(20, 112), 50, axis=0), sorted(list(range(100)) * 10))
    size = (tmp_path / "train.rec").stat().st_size
    tracemalloc.start()
    table = READERS["insightface"].read(tmp_path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(table) == 1000
    assert peak < size + 2_000_000  # the table and its paths, not a thousand decoded pictures of 38 kB


@pytest.mark.parametrize("labels", [0, 1, 3])
def test_a_record_cut_where_its_bytes_hold_the_magic_number_is_put_together(tmp_path: Path, labels: int) -> None:
    magic = struct.pack("<I", MAGIC)
    payload = b"abcd" * (2 - labels % 2) + magic + b"efgh" + magic + magic + b"tail"
    head = struct.pack("<IfQQ", labels, 7.0, 1, 2) + struct.pack(f"<{labels}f", *range(7, 7 + labels))
    written = record_bytes(head + payload)
    assert written.count(magic) == 4  # one opens each part
    (tmp_path / "one.rec").write_bytes(b"\0" * 8 + written)
    found = read_record(tmp_path / "one.rec", 8)
    assert found.payload == payload
    assert found.labels[0] == 7


def test_without_a_describing_record_every_key_is_a_picture(folder: Path) -> None:
    lines = (folder / "train.idx").read_text().splitlines()
    (folder / "train.idx").write_text("\n".join(lines[1:7]) + "\n")
    assert len(READERS["insightface"].read(folder)) == 6


def cut_index(folder: Path) -> None:
    (folder / "train.idx").write_text("".join((folder / "train.idx").read_text().splitlines(keepends=True)[:4]))


def cut_line(folder: Path) -> None:
    (folder / "train.idx").write_text((folder / "train.idx").read_text() + "9\t")


def cut_record(folder: Path) -> None:
    data = (folder / "train.rec").read_bytes()
    (folder / "train.rec").write_bytes(data[: len(data) // 2])


def damage_record(folder: Path) -> None:
    offset = int((folder / "train.idx").read_text().splitlines()[3].split("\t")[1])
    data = bytearray((folder / "train.rec").read_bytes())
    data[offset : offset + 4] = b"oops"
    (folder / "train.rec").write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda folder: (folder / "property").unlink(), "property is missing"),
        (lambda folder: (folder / "property").write_text("three people\n"), "not a line like '10572,112,112'"),
        (lambda folder: (folder / "property").write_text("2,112,112\n"), "has 3 people but"),
        (lambda folder: (folder / "train.idx").write_text(""), "empty"),
        (lambda folder: (folder / "train.idx").write_text("0\t0\n0\t8\n"), "names a record twice"),
        (cut_index, "has 3 photos but record 0 announces 6"),
        (cut_line, "cut off"),
        (cut_record, "points to byte"),
        (damage_record, "no whole record at byte"),
    ],
)
def test_a_broken_record_set_is_refused(folder: Path, spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    spoil(folder)
    assert words in refusal(READERS["insightface"].read, folder)


def test_a_record_that_holds_no_picture_is_refused_when_it_is_decoded(folder: Path) -> None:
    data = (folder / "train.rec").read_bytes()
    (folder / "train.rec").write_bytes(data.replace(b"\xff\xd8\xff", b"\0\0\0"))
    table = READERS["insightface"].read(folder)
    assert "cannot be decoded" in refusal(load, Path(table["path"].iloc[0]), upright=True)


# Pairs


def test_pairs_of_lfw_are_read_as_they_stand(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("2\t1\nAnn_Lee\t1\t12\nAnn_Lee\t3\tBo\t4\nBo\t1\t2\nBo\t1\tAnn_Lee\t2\n")
    found = read_pairs(tmp_path / "pairs.txt")
    assert found.first.tolist() == ["Ann_Lee/Ann_Lee_0001", "Ann_Lee/Ann_Lee_0003", "Bo/Bo_0001", "Bo/Bo_0001"]
    assert found.second.tolist() == ["Ann_Lee/Ann_Lee_0012", "Bo/Bo_0004", "Bo/Bo_0002", "Ann_Lee/Ann_Lee_0002"]
    assert found.same.tolist() == [True, False, True, False]
    assert found.fold.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not begin"),
        ("Ann 1 2\n", "does not begin"),
        ("1 1\nAnn 1 2\n", "has 1 lines of pairs"),
        ("1 1\nAnn 1 two\nAnn 1 Bo 2\n", "line 2 is 'Ann 1 two'"),
        ("1 1\nAnn 1\nAnn 1 Bo 2\n", "line 2 is 'Ann 1'"),
    ],
)
def test_a_broken_pairs_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "pairs.txt").write_text(text)
    assert words in refusal(read_pairs, tmp_path / "pairs.txt")


def test_the_real_protocol_names_photos_that_the_reader_finds() -> None:
    if not (FACES / "lfw").is_dir():
        pytest.skip("../shared/faces/lfw is not here")
    found = read_pairs(FACES / "lfw" / "pairs.txt")
    assert len(found.same) == 6000
    assert np.bincount(found.fold).tolist() == [600] * 10
    keys = set(READERS["lfw"].read(FACES / "lfw" / "aligned")["key"])
    assert set(found.first.tolist()) | set(found.second.tolist()) <= keys


@pytest.mark.parametrize("arrays", [False, True])
def test_a_bin_gives_its_pairs_as_images(tmp_path: Path, arrays: bool) -> None:
    write_bin(tmp_path / "lfw.bin", flat_images(), [True, False, True], arrays=arrays)
    images, same = read_bin(tmp_path / "lfw.bin", (16, 24))
    assert images.shape == (6, 3, 16, 24)
    assert images.mean((1, 2, 3)) == pytest.approx([20, 30, 40, 50, 60, 70], abs=1)
    assert same.tolist() == [True, False, True]


class Evil:
    def __reduce__(self):  # type: ignore[no-untyped-def]
        return eval, ("1 + 1",)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps(([b"x"] * 3, [True, False])), "has 3 images for 2 pairs"),
        (pickle.dumps(([b"x"] * 4, [True])), "has 4 images for 1 pairs"),
        (pickle.dumps(([b"x"] * 4, [True, True])), "all of one kind"),
        (pickle.dumps(([b"x"] * 4, [True, False])), "image 0 cannot be decoded"),
        (pickle.dumps(([Evil()] * 4, [True, False])), "it names builtins.eval"),
        (pickle.dumps([1, 2, 3]), "expected a pair"),
        (pickle.dumps(([b"x"] * 4, [True, False]))[:-9], "no verification set"),
        (b"", "no verification set"),
    ],
)
def test_a_broken_or_foreign_bin_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "x.bin").write_bytes(content)
    assert words in refusal(read_bin, tmp_path / "x.bin", (16, 16))


# AgeDB and ORL


def test_agedb_names_carry_person_age_and_gender(tmp_path: Path) -> None:
    for name in ("0_MariaCallas_35_f.jpg", "12_GlennClose_62_f.jpg", "7_AA_Milne_20_m.jpg"):
        (tmp_path / name).write_bytes(picture_file(flat_images(1)[0]))
    table = READERS["agedb"].read(tmp_path)
    assert table["person"].tolist() == ["MariaCallas", "GlennClose", "AA_Milne"]
    assert table["age"].tolist() == [35, 62, 20]
    assert table["gender"].tolist() == ["f", "f", "m"]
    (tmp_path / "holiday.jpg").write_bytes(b"")
    assert "holiday.jpg" in refusal(READERS["agedb"].read, tmp_path)


def test_a_tree_of_people_as_casia_is_handed_out_is_read_by_folder(tmp_path: Path) -> None:
    for name in ("0000045/001.jpg", "0000045/002.jpg", "0000099/001.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(picture_file(flat_images(1)[0]))
    assert READERS["folder"].read(tmp_path)["person"].tolist() == ["0000045", "0000045", "0000099"]


def test_orl_is_forty_people_ten_times() -> None:
    if not (FACES / "orl").is_dir():
        pytest.skip("../shared/faces/orl is not here")
    table = READERS["orl"].read(FACES / "orl")
    assert table["person"].value_counts().tolist() == [10] * 40


def test_orl_refuses_other_folders(tmp_path: Path) -> None:
    (tmp_path / "ann").mkdir()
    (tmp_path / "ann" / "1.jpg").write_bytes(picture_file(flat_images(1)[0]))
    assert "'ann'" in refusal(READERS["orl"].read, tmp_path)
    assert "not a folder" in refusal(READERS["orl"].read, tmp_path / "nowhere")
