"""Readers meet trees of exactly the layout that each dataset has, and say in one line what is wrong with any other."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import SHARED
from efface.data.faces import EYES
from efface.datasets import (
    GENERATORS,
    READERS,
    bioid,
    celeba,
    cuhk,
    fairface,
    folder,
    jaffe,
    lfw,
    mtfl,
    mufac,
    read_photos,
    reader,
    utkface,
)
from efface.errors import InputError
from efface.preparation.packed import open_packed, read_manifest
from efface.preparation.prepare import prepare
from efface.testing.layouts import write_celeba_hq, write_jaffe, write_mufac


def shared(name: str) -> Path:
    """A real dataset at hand, or the reason why not."""
    path = SHARED / "faces" / name
    if not path.exists():
        pytest.skip(f"shared/faces/{name} is not on this machine")
    return path


def picture(file: Path, width: int = 12, height: int = 10) -> Path:
    """A small grey image on disk."""
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((height, width), 90, np.uint8)).save(file)
    return file


def refusal(path: Path, read: Callable[[Path], object]) -> str:
    """The one line a reader answers with."""
    with pytest.raises(InputError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


# The tables


def test_every_dataset_stands_under_the_name_of_its_card() -> None:
    cards = {name: entry.card for name, entry in READERS.items()} | {n: entry.card for n, entry in GENERATORS.items()}
    for name, card in cards.items():
        assert card.name == name
        assert all(vars(card).values())


def test_an_unknown_dataset_is_refused_by_name() -> None:
    assert reader("lfw").read is lfw.read
    with pytest.raises(InputError, match="did you mean 'fairface'"):
        reader("farface")
    with pytest.raises(InputError, match="is generated"):
        reader("synthetic")


def test_importing_the_tables_is_light() -> None:
    code = "import sys, efface.datasets; print(sorted({'torch', 'pandas', 'cv2', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# What is left out


def test_every_file_that_a_reader_passes_over_is_named(tmp_path: Path) -> None:
    for name in ("ann/0.jpg", "ann/1.avif", "bob/0.JFIF", "loose.jpg", "dora/album/0.jpg", ".cache/x/0.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (9, 9)).save(tmp_path / name, "AVIF" if name.endswith("avif") else "JPEG")
    for name in ("ann/1.cr2", "carl/film.mov", "notes.txt", "ann/.DS_Store", "ann/nosuffix"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    table = read_photos(READERS["folder"], tmp_path)
    assert table["key"].tolist() == ["ann/0", "ann/1", "bob/0"]
    left_out = table.attrs["left_out"]
    assert left_out == dict.fromkeys(
        ["ann/1.cr2", "ann/nosuffix", "carl/film.mov", "dora/album/0.jpg", "loose.jpg", "notes.txt"],
        "not read by this reader",
    ) | {".cache/x/0.jpg": "hidden", "ann/.DS_Store": "hidden"}
    done = prepare(table, tmp_path / "out", card=folder.CARD, eyes="none", size=(9, 9))
    assert done.left_out == left_out == read_manifest(tmp_path / "out")["left_out"]
    assert "8 files left out (2 without a suffix, 3 .jpg" in str(done) or "8 files left out (3 .jpg" in str(done)


def test_photos_beside_a_manifest_that_it_does_not_name_are_named(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", "sub/c.png"):
        picture(tmp_path / name)
    (tmp_path / "manifest.csv").write_text("path,person\na.png,Ann\nsub/../a.png,Bob\n")
    table = read_photos(READERS["folder"], tmp_path)
    assert sorted(table.attrs["left_out"]) == ["b.png", "sub/c.png"]
    assert read_photos(READERS["folder"], tmp_path / "manifest.csv").attrs["left_out"] == {}


def test_what_lies_beside_the_photos_by_rights_is_not_left_out(tmp_path: Path) -> None:
    bioid_tree(tmp_path / "bioid")
    assert read_photos(READERS["bioid"], tmp_path / "bioid").attrs["left_out"] == {}
    (tmp_path / "bioid" / "BioID_0002.png").write_bytes(b"")
    assert list(read_photos(READERS["bioid"], tmp_path / "bioid").attrs["left_out"]) == ["BioID_0002.png"]
    utk = tmp_path / "utk"
    for name in ("26_0_1_20170104.jpg.chip.jpg", "26_0_20170104.jpg", "26_0_1_2017.png"):
        picture(utk / name)
    assert read_photos(READERS["utkface"], utk).attrs["left_out"] == {
        "26_0_20170104.jpg": "no such name", "26_0_1_2017.png": "not read by this reader",
    }  # fmt: skip


def test_a_name_that_is_no_text_is_one_line(tmp_path: Path) -> None:
    picture(tmp_path / "ann" / "0.png")
    (tmp_path / "ann" / "0.png").rename(tmp_path / "ann" / os.fsdecode(b"\xff.png"))
    with pytest.raises(InputError, match="holds a name that is not UTF-8"):
        read_photos(READERS["folder"], tmp_path)


def test_photos_that_differ_in_their_suffix_have_keys_of_their_own(tmp_path: Path) -> None:
    for name in ("p/a.png", "p/a.jpg", "p/a.jpg.png", "p/b.png"):
        picture(tmp_path / name)
    assert sorted(folder.read(tmp_path)["key"]) == ["p/a.jpg", "p/a.jpg.png", "p/a.png", "p/b"]


# BioID


def bioid_tree(path: Path) -> Path:
    """Two photos with the marks of the real first two files."""
    for stem, marks in (("BioID_0000", "232\t110\t161\t110"), ("BioID_0001", "214\t112\t155\t110")):
        picture(path / f"{stem}.pgm")
        (path / f"{stem}.eye").write_text(f"#LX\tLY\tRX\tRY\n{marks}\n")
    return path


def test_bioid_gives_the_left_eye_of_the_subject_first(tmp_path: Path) -> None:
    table = bioid.read(bioid_tree(tmp_path))
    assert list(table.columns) == ["key", "path", "person", *EYES]
    assert table["key"].tolist() == table["person"].tolist() == ["BioID_0000", "BioID_0001"]
    assert table["path"].tolist() == [str(tmp_path / "BioID_0000.pgm"), str(tmp_path / "BioID_0001.pgm")]
    assert table[EYES].to_numpy().tolist() == [[232, 110, 161, 110], [214, 112, 155, 110]]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("LX LY RX RY\n1 2 3 4\n", "starts with 'LX LY RX RY'"),
        ("#RX\tRY\tLX\tLY\n1\t2\t3\t4\n", "starts with '#RX RY LX LY'"),
        ("", "starts with ''"),
        ("#LX\tLY\tRX\tRY\n", "gives ''"),
        ("#LX\tLY\tRX\tRY\n232\t110\t161\n", "gives '232 110 161'"),
        ("#LX\tLY\tRX\tRY\n1\t2\t3\t4\t5\n", "gives '1 2 3 4 5'"),
        ("#LX\tLY\tRX\tRY\n1\tNaN\t3\t4\n", "gives '1 NaN 3 4'"),
        ("#LX\tLY\tRX\tRY\n1\tinf\t3\t4\n", "gives '1 inf 3 4'"),
        ("#LX\tLY\tRX\tRY\n1\ttwo\t3\t4\n", "gives '1 two 3 4'"),
    ],
)
def test_bioid_refuses_a_malformed_eye_file(tmp_path: Path, text: str, said: str) -> None:
    (bioid_tree(tmp_path) / "BioID_0001.eye").write_text(text)
    message = refusal(tmp_path, bioid.read)
    assert said in message
    assert "BioID_0001.eye" in message


def test_bioid_refuses_photos_and_marks_that_do_not_pair(tmp_path: Path) -> None:
    bioid_tree(tmp_path)
    extra = picture(tmp_path / "BioID_0002.pgm")
    assert "BioID_0002.pgm has no BioID_0002.eye" in refusal(tmp_path, bioid.read)
    extra.unlink()
    (tmp_path / "BioID_0000.pgm").unlink()
    assert "BioID_0000.eye has no BioID_0000.pgm" in refusal(tmp_path, bioid.read)
    (tmp_path / "BioID_0001.pgm").unlink()
    assert "2 .eye files but no photos" in refusal(tmp_path, bioid.read)
    assert "is not a folder" in refusal(tmp_path / "nowhere", bioid.read)


def test_bioid_reads_all_real_marks() -> None:
    files = sorted(shared("bioid_eyes").glob("*.eye"))
    marks = np.array([bioid.read_eyes(file) for file in files])
    apart = np.hypot(marks[:, 0] - marks[:, 2], marks[:, 1] - marks[:, 3])
    assert len(marks) == 1521
    assert (marks[:, 0] > marks[:, 2]).all()
    assert 33 < apart.min() < 35
    assert 102 < apart.max() < 104


# Your own folder


def test_a_manifest_keeps_words_as_words(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_text(
        "\ufeffpath,person,group,label,left_x,left_y,right_x,right_y\n"
        "a/one.jpg,007,NA,01,30.5,20,10,21\n"
        "b\\two.png,NA,,02,,,,\n",
        encoding="utf-8",
    )
    table = folder.read(tmp_path)
    assert table["key"].tolist() == ["a/one", "b/two"]
    assert table["path"].tolist() == [str(tmp_path / "a/one.jpg"), str(tmp_path / "b/two.png")]
    assert table["person"].tolist() == ["007", "NA"]
    assert table["group"].tolist() == ["NA", ""]
    assert table["label"].tolist() == ["01", "02"]
    assert table[EYES].iloc[0].tolist() == [30.5, 20.0, 10.0, 21.0]
    assert table[EYES].iloc[1].isna().all()
    pd.testing.assert_frame_equal(folder.read(tmp_path / "manifest.csv"), table)


def test_a_parquet_manifest_says_the_same(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    rows = {"path": ["a.jpg", "a.png"], "person": ["1", "2"], "left_x": [5.0, 6.0], "smile": [True, False]}
    pd.DataFrame(rows).to_parquet(tmp_path / "labels.parquet")
    table = folder.read(tmp_path)
    assert table["key"].tolist() == ["a.jpg", "a.png"]
    assert table["smile"].tolist() == [True, False]
    assert table["left_x"].tolist() == [5.0, 6.0]


def test_a_parquet_manifest_without_pyarrow_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "manifest.parquet").write_bytes(b"PAR1")

    def unavailable(_file: Path) -> pd.DataFrame:
        raise ImportError("pyarrow")

    monkeypatch.setattr(pd, "read_parquet", unavailable)
    assert "pip install 'efface[parquet]'" in refusal(tmp_path, folder.read)


def test_a_broken_parquet_manifest_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    (tmp_path / "manifest.parquet").write_bytes(b"not parquet at all")
    assert "manifest.parquet cannot be read as a table" in refusal(tmp_path, folder.read)


def test_a_parquet_manifest_holds_words_and_numbers(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    for cell in (b"bytes", ["a", "list"], {"a": "table"}):
        pd.DataFrame({"path": ["a.jpg"], "person": ["x"], "more": [cell]}).to_parquet(tmp_path / "manifest.parquet")
        assert "'more' holds more than words and numbers" in refusal(tmp_path, folder.read)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,person\na.jpg,x\n", "it needs path too"),
        ("path,name\na.jpg,x\n", "it needs person too"),
        ("path,person\n", "has no rows"),
        ("", "is empty: expected a line of names"),
        (" \n,,\n", "is empty: expected a line of names"),
        ("path,person\na.jpg,x\nb.jpg,y,z,w\n", "line 3 has 4 cells: expected 2"),
        ("path,person\na.jpg,x\nb.jpg\n", "line 3 has 1 cells: expected 2"),
        ("path,person,person\na.jpg,x,y\n", "the column 'person' twice"),
        ('path,person\n"a.jpg,x\n' + "b.jpg,y\n" * 20_000, "is no CSV"),
        ("path,person\na.jpg,x\0\n", "NUL"),
        ("path,person\n/,x\n", "names the photo '/'"),
        ("path,person,left_x\na.jpg,x,wide\n", "left_x of '" + "{folder}/a.jpg' is 'wide'"),
    ],
)
def test_a_wrong_manifest_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    assert said.replace("{folder}", str(tmp_path)) in refusal(tmp_path, folder.read)


def test_a_tree_of_people_needs_no_manifest(tmp_path: Path) -> None:
    for name in ("Ann/1.jpg", "Ann/1.png", "Bo/x.PGM", "Bo/._x.jpg", ".cache/y.jpg"):
        picture(tmp_path / name.replace(".PGM", ".pgm"))
    (tmp_path / "Bo/x.pgm").rename(tmp_path / "Bo/x.PGM")
    (tmp_path / "Bo/notes.txt").write_text("not a photo")
    table = folder.read(tmp_path)
    assert table["key"].tolist() == ["Ann/1.jpg", "Ann/1.png", "Bo/x"]
    assert table["person"].tolist() == ["Ann", "Ann", "Bo"]
    assert "holds no photos" in refusal(tmp_path / "Ann", folder.read)
    assert "does not exist" in refusal(tmp_path / "Cy", folder.read)


# FairFace


@pytest.mark.parametrize(
    ("text", "age"),
    [
        *((age, age) for age in fairface.AGES),
        ("03-Sep", "3-9"),
        ("3-Sep", "3-9"),
        ("09-Mar", "3-9"),
        ("Oct-19", "10-19"),
        ("19-Oct", "10-19"),
        ("70+", "more than 70"),
        (" 20-29 ", "20-29"),
    ],
)
def test_fairface_ages_are_read_as_they_were_meant(text: str, age: str) -> None:
    assert fairface.read_age(text) == age


@pytest.mark.parametrize("text", ["", "old", "20-39", "29", "Jun-19", "20-29-30"])
def test_fairface_refuses_other_ages(text: str) -> None:
    with pytest.raises(InputError, match="is none of 0-2"):
        fairface.read_age(text)


def test_fairface_reads_the_parts_that_are_there(tmp_path: Path) -> None:
    (tmp_path / "fairface_label_train.csv").write_text(
        "file,age,gender,race,service_test\n"
        "train/1.jpg,50-59,Male,East Asian,True\n"
        "fairface/train/2.jpg,03-Sep,Female,Indian,FALSE\n"
    )
    table = fairface.read(tmp_path)
    assert table["key"].tolist() == table["person"].tolist() == ["train/1", "train/2"]
    assert table["path"].tolist() == [str(tmp_path / "train/1.jpg"), str(tmp_path / "train/2.jpg")]
    assert table["age"].tolist() == ["50-59", "3-9"]
    assert table["service_test"].tolist() == [True, False]
    (tmp_path / "fairface_label_val.csv").write_text("file,age,gender,race\nval/1.jpg,20-29,Male,Black\n")
    assert fairface.read(tmp_path)["part"].tolist() == ["train", "train", "val"]
    assert "holds no label file" in refusal(tmp_path / "train", fairface.read)


def test_fairface_reads_the_real_labels() -> None:
    table = fairface.read(shared("fairface"))
    assert table["part"].value_counts().to_dict() == {"train": 14000, "val": 3000}
    assert table["race"].nunique() == 7
    assert table["key"].is_unique
    assert all(Path(path).is_file() for path in table["path"].iloc[::500])


# MTFL and CUHK


def test_mtfl_swaps_the_eyes_to_the_subjects_left_first(tmp_path: Path) -> None:
    points = "10 30 20 12 28 40 41 50 60 61"  # all x, then all y; the eye on the left of the image first
    (tmp_path / "training.txt").write_text(f" lfw_5590\\Ann_0001.jpg {points} 2 1 2 3\n \n")
    (tmp_path / "testing.txt").write_text(f" AFLW\\my photo.jpg {points} 1 2 1 5\n")
    table = mtfl.read(tmp_path)
    assert table["key"].tolist() == ["lfw_5590/Ann_0001", "AFLW/my photo"]
    assert table["path"].iloc[0] == str(tmp_path / "lfw_5590/Ann_0001.jpg")
    assert table[EYES].to_numpy().tolist() == [[30, 41, 10, 40]] * 2
    assert table[["gender", "smile", "glasses", "pose", "part"]].to_numpy().tolist() == [
        ["female", "yes", "no", "frontal", "train"],
        ["male", "no", "yes", "right profile", "test"],
    ]


def test_cuhk_swaps_the_eyes_too_and_keeps_the_box(tmp_path: Path) -> None:
    (tmp_path / "testImageList.txt").write_text(
        "lfw_5590\\Ann_0001.jpg 84 161 92 169 106.25 107.75 146.5 112 1 2 3 4 5 6\n"
    )
    table = cuhk.read(tmp_path)
    assert table[EYES].to_numpy().tolist() == [[146.5, 112, 106.25, 107.75]]
    assert table[["box_left", "box_right", "box_top", "box_bottom"]].to_numpy().tolist() == [[84, 161, 92, 169]]
    assert table["part"].tolist() == ["test"]


@pytest.mark.parametrize(
    "line",
    [
        "a.jpg 1 2 3",
        "1 2 3 4 5 6 7 8 9 10 1 1 1 1",
        "a.jpg 1 2 3 4 5 6 7 8 9 x 1 1 1 1",
        "a.jpg 1 2 3 4 5 nan 7 8 9 1 1 1 1 1",
    ],
)
def test_point_lists_refuse_other_lines(tmp_path: Path, line: str) -> None:
    (tmp_path / "training.txt").write_text(line + "\n")
    (tmp_path / "trainImageList.txt").write_text(line + "\n")
    for read in (mtfl.read, cuhk.read):
        assert "is not a path and 14 numbers" in refusal(tmp_path, read)


def test_point_lists_refuse_codes_and_folders_they_do_not_know(tmp_path: Path) -> None:
    assert "holds none of training.txt, testing.txt" in refusal(tmp_path, mtfl.read)
    assert "holds none of trainImageList.txt, testImageList.txt" in refusal(tmp_path, cuhk.read)
    (tmp_path / "training.txt").write_text("a.jpg 1 2 3 4 5 6 7 8 9 10 1 1 1 6\n")
    assert "pose of 'a' is 6: expected 1 to 5" in refusal(tmp_path, mtfl.read)
    (tmp_path / "training.txt").write_text("\n")
    assert "name no photo" in refusal(tmp_path, mtfl.read)


# LFW


def lfw_tree(path: Path, tree: str, side: int) -> Path:
    """One person, two photos, and the landmarks of the first two real files' kind."""
    for number in (1, 2):
        picture(path / tree / f"Ann_Lee/Ann_Lee_000{number}.jpg", side, side)
    (path / "landmarks_250px.csv").write_text(
        "path,right_eye_x,right_eye_y,left_eye_x,left_eye_y,nose_x,nose_y\n"
        "Ann_Lee/Ann_Lee_0001.jpg,98.73,111.45,146.83,111.62,1,2\n"
    )
    return path


def test_lfw_takes_attributes_as_signs_of_a_persons_mean_score(tmp_path: Path) -> None:
    lfw_tree(tmp_path, "photos", 60)
    people = sorted(set(lfw.read(tmp_path)["person"]))
    (tmp_path / "lfw_attributes.txt").write_text(
        "# lfw_attributes.txt\n#\tperson\timagenum\tMale\tSoft Lighting\n"
        f"{people[0].replace('_', ' ')}\t1\t-2.0\t0.5\n{people[0].replace('_', ' ')}\t2\t1.5\t0.5\n"
    )
    table = lfw.read(tmp_path, attributes=tmp_path / "lfw_attributes.txt")
    mine = table[table["person"] == people[0]]
    assert set(mine["Male"]) == {"0"}
    assert set(mine["Soft_Lighting"]) == {"1"}
    assert set(table.loc[table["person"] != people[0], "Male"]) <= {"unknown"}
    (tmp_path / "wrong.txt").write_text("nothing\n")
    assert "lfw_attributes.txt" in refusal(tmp_path / "wrong.txt", lambda path: lfw.read(tmp_path, attributes=path))
    assert "does not exist" in refusal(tmp_path / "none.txt", lambda path: lfw.read(tmp_path, attributes=path))


def test_lfw_takes_landmarks_for_photos_as_published(tmp_path: Path) -> None:
    lfw_tree(tmp_path, "photos", 250)
    for path in (tmp_path, tmp_path / "photos"):
        table = lfw.read(path)
        assert table["key"].tolist() == ["Ann_Lee/Ann_Lee_0001", "Ann_Lee/Ann_Lee_0002"]
        assert table["person"].tolist() == ["Ann_Lee"] * 2
        assert table[EYES].iloc[0].tolist() == [146.83, 111.62, 98.73, 111.45]
        assert table[EYES].iloc[1].isna().all()


def test_lfw_takes_no_landmarks_for_photos_of_another_size(tmp_path: Path) -> None:
    assert list(lfw.read(lfw_tree(tmp_path, "aligned", 112)).columns) == ["key", "path", "person"]
    (tmp_path / "aligned/Ann_Lee/Ann_Lee_0001.jpg").write_bytes(b"nothing")
    assert len(lfw.read(tmp_path)) == 2  # the photo that can be read tells the size


def test_lfw_asks_which_tree(tmp_path: Path) -> None:
    lfw_tree(lfw_tree(tmp_path, "aligned", 112), "photos", 250)
    assert "say which" in refusal(tmp_path, lfw.read)
    assert "is not a folder" in refusal(tmp_path / "gone", lfw.read)


def test_lfw_reads_the_real_photos() -> None:
    table = lfw.read(shared("lfw") / "photos")
    assert len(table) == 992
    assert table["person"].nunique() == 62
    assert (table["left_x"] > table["right_x"]).all()
    aligned = lfw.read(shared("lfw") / "aligned")
    assert len(aligned) == 11585
    assert aligned["person"].nunique() == 4289
    assert EYES[0] not in aligned


# Families, celebrities, expressions, ages


def mufac_tree(folder: Path) -> Path:
    image = np.full((3, 8, 8), 90, np.uint8)
    parts: dict[str, list[tuple[str, str, str]]] = {
        "train": [("F0001", "D", "a"), ("F0001", "D", "d"), ("F0001", "GF", "h"), ("F0002", "S2", "c")],
        "val": [("F0801", "F", "e"), ("F0801", "M", "b")],
        "test": [("F0851", "F", "f"), ("F0852", "F", "g"), ("F0853", "D", "a"), ("F0854", "S", "b")],
    }
    write_mufac(folder, {part: np.stack([image] * len(rows)) for part, rows in parts.items()}, parts)
    return folder


def test_mufac_gives_people_of_families_and_the_benchmarks_split(tmp_path: Path) -> None:
    table = mufac.read(mufac_tree(tmp_path))
    assert table["person"].tolist()[:4] == ["F0001_D", "F0001_D", "F0001_GF", "F0002_S2"]
    assert table["age"].tolist()[:4] == ["0-6", "20-30", "67-80", "13-19"]
    assert table["protocol"].tolist() == ["train"] * 4 + ["test"] * 2 + ["strangers"] * 4
    assert table["protocol_clean"].tolist()[6:] == ["public", "strangers", "strangers", "public"]
    assert table["key"].is_unique
    assert all(Path(path).is_file() for path in table["path"])
    assert any(path.endswith(".JPG") for path in table["path"])


def test_mufac_says_what_is_wrong(tmp_path: Path) -> None:
    mufac_tree(tmp_path)
    (tmp_path / "custom_val_dataset.csv").write_text("family_id,person_id,age_class,image_path\nF1,D,z,x.jpg\n")
    assert "age_class of 'x.jpg' is 'z'" in refusal(tmp_path, mufac.read)
    (tmp_path / "custom_test_dataset.csv").unlink()
    assert "custom_test_dataset.csv" in refusal(tmp_path, mufac.read)


NAMES = ["5_o_Clock_Shadow", "Male", "Smiling", "Young"]


def celeba_hq_tree(folder: Path) -> Path:
    write_celeba_hq(
        folder,
        np.full((8, 3, 8, 8), 90, np.uint8),
        [0, 189, 190, 1249, 1250, 4854, 4855, 4856],
        np.array([[-1, 1, -1, 1]] * 8),
        NAMES,
    )
    return folder


def test_celeba_hq_gives_attributes_and_mucacs_split(tmp_path: Path) -> None:
    table = celeba.read_celeba_hq(celeba_hq_tree(tmp_path))
    assert table[NAMES].to_numpy().tolist() == [[0, 1, 0, 1]] * 8
    assert table["protocol"].tolist() == ["test"] * 2 + ["train"] * 4 + ["strangers"] * 2
    assert table["request"].tolist() == ["", "", "forget", "forget", "retain", "retain", "", ""]
    assert table["protocol_clean"].tolist()[6:] == ["strangers", "public"]
    assert "  " in (tmp_path / "CelebA-HQ-attribute.txt").read_text(), "the real file has double blanks"


def test_photos_that_are_named_but_absent_are_left_out_and_said(tmp_path: Path) -> None:
    celeba_hq_tree(tmp_path)
    (tmp_path / "CelebAMask-HQ" / "CelebA-HQ-img" / "3.jpg").unlink()
    table = celeba.read_celeba_hq(tmp_path)
    assert table["key"].tolist() == ["0", "1", "2", "4", "5", "6", "7"]
    assert table.attrs["left_out"] == {"3.jpg": "no photo"}
    done = prepare(table, tmp_path / "packed", card=celeba.CELEBA_HQ, size=(8, 8), eyes="none")
    assert read_manifest(done.folder)["left_out"] == {"3.jpg": "no photo"}


@pytest.mark.parametrize("header", ["", "image_id identity\n"])
def test_celeba_gives_people_parts_and_the_subjects_eyes(tmp_path: Path, header: str) -> None:
    for name in ("000001.jpg", "000002.jpg"):
        picture(tmp_path / "img_align_celeba" / name)
    (tmp_path / "identity_CelebA.txt").write_text(f"{header}000001.jpg 2880\n000002.jpg 7\n")
    (tmp_path / "list_attr_celeba.txt").write_text(
        f"2\n{' '.join(NAMES)}\n000001.jpg -1  1 -1  1\n000002.jpg 1 1 1 1\n"
    )
    (tmp_path / "list_eval_partition.txt").write_text("000001.jpg 0\n000002.jpg 2\n")
    points = "lefteye_x lefteye_y righteye_x righteye_y nose_x nose_y leftmouth_x leftmouth_y rightmouth_x rightmouth_y"
    (tmp_path / "list_landmarks_align_celeba.txt").write_text(
        f"2\n{points}\n000001.jpg 69  109 106  113 77 142 73 152 108 154\n"
    )
    table = celeba.read_celeba(tmp_path)
    assert table["person"].tolist() == ["2880", "7"]
    assert table["part"].tolist() == ["train", "test"]
    assert table["Male"].tolist() == [1, 1]
    assert table[EYES].to_numpy()[0].tolist() == [106, 113, 69, 109]
    assert table[EYES].isna().to_numpy()[1].all()


def test_celeba_says_what_is_wrong(tmp_path: Path) -> None:
    celeba_hq_tree(tmp_path)
    file = tmp_path / "CelebA-HQ-attribute.txt"
    file.write_text(file.read_text().replace("0.jpg  -1", "0.jpg  maybe", 1))
    assert "the line of '0.jpg'" in refusal(tmp_path, celeba.read_celeba_hq)
    file.write_text("8\n")
    assert "holds no photo" in refusal(tmp_path, celeba.read_celeba_hq)
    (tmp_path / "CelebA-HQ-identity.txt").unlink()
    assert "CelebA-HQ-identity.txt" in refusal(tmp_path, celeba.read_celeba_hq)
    assert "no identity_CelebA.txt" in refusal(tmp_path, celeba.read_celeba)


def test_jaffe_names_carry_person_and_expression(tmp_path: Path) -> None:
    write_jaffe(tmp_path, np.full((3, 8, 8), 90, np.uint8), ["KA", "KA", "YM"], ["AN", "AN", "SU"])
    (tmp_path / "README.txt").write_text("about")
    table = jaffe.read(tmp_path)
    assert table["key"].tolist() == ["KA.AN1.1", "KA.AN2.2", "YM.SU1.3"]
    assert table["person"].tolist() == ["KA", "KA", "YM"]
    assert table["expression"].tolist() == ["angry", "angry", "surprised"]
    with Image.open(table["path"].iloc[0]) as photo:
        assert photo.mode == "P"
    done = prepare(table, tmp_path / "packed", card=jaffe.CARD, size=(8, 8), eyes="none")
    assert np.asarray(open_packed(done.folder).images).tolist() == np.full((3, 1, 8, 8), 90).tolist()
    picture(tmp_path / "somebody.tiff")
    assert "somebody.tiff" in refusal(tmp_path, jaffe.read)


def test_utkface_reads_names_and_counts_those_it_cannot(tmp_path: Path) -> None:
    for name in (
        "26_0_1_20170104.jpg.chip.jpg",
        "3_1_4_2017.jpg.chip.jpg",
        "101_1_0_2017.jpg.chip.jpg",
        "61_1_20170109.jpg.chip.jpg",
        "24_0_1_2017jpg.chip.jpg",
    ):
        picture(tmp_path / name)
    table = utkface.read(tmp_path)
    assert sorted(zip(table["age"], table["decade"], table["gender"], table["race"], strict=True)) == [
        (3, "0-9", "female", "Others"),
        (26, "20-29", "male", "Black"),
        (101, "80 and over", "female", "White"),
    ]
    assert set(table.attrs["left_out"]) == {"61_1_20170109.jpg.chip.jpg", "24_0_1_2017jpg.chip.jpg"}


@pytest.mark.parametrize("read", [mufac.read, celeba.read_celeba, celeba.read_celeba_hq, jaffe.read, utkface.read])
def test_an_empty_folder_is_refused_with_the_layout(tmp_path: Path, read: Callable[[Path], object]) -> None:
    assert "expected" in refusal(tmp_path, read)
    assert "expected" in refusal(tmp_path / "nowhere", read)


def test_fairface_ages_and_both_groups_are_read_from_the_real_files() -> None:
    table = fairface.read(shared("fairface"))
    assert len(table) == 17_000
    assert set(table["age"]) == set(fairface.AGES[3:])
    assert table["race"].nunique() == 7
    assert table["gender"].nunique() == 2
