"""A name is one person, however it was typed: a request never leaves half of somebody's photos in training."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import TABLE, loaded, packed, refusal
from efface.data.faces import EYES, FaceTable, Splits
from efface.data.names import among, normal, spelling_warning, spelt_alike
from efface.data.pairs import places, read_pairs
from efface.data.split import scores_of, split_faces
from efface.datasets import READERS, read_photos
from efface.datasets.synthetic import synthetic
from efface.experiment.request import doubtful_names
from efface.plan.tables import Forget, Split

NAME = "José Müller"
SPELLINGS = [
    NAME,
    unicodedata.normalize("NFD", NAME),
    f"{NAME} ",
    f"  {NAME}",
    "José  Müller",
    "José\u00a0Müller",
    "José\tMüller",
    f"\ufeff{NAME}",
    f"{NAME}\u200b",
    f"\u200e{NAME}\u200f",
    f"{NAME}\r",
    f"{NAME}\0",
    f"{NAME}\u3000",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_the_name(spelling: str) -> None:
    assert normal(spelling) == NAME
    assert normal(normal(spelling)) == normal(spelling)


@pytest.mark.parametrize(
    "name", ["007", "1.0", "Ann Lee", "ann lee", "ＡＮＮ", "می‌خواهم", "क्‍ष", "O'Neil", "Ann_Lee", ""]
)
def test_other_names_stay_what_they_are(name: str) -> None:
    assert normal(name) == name


def folder_of(folder: Path, spell: Callable[[str, int], str]) -> Path:
    """Synthetic photos with a manifest whose rows spell their person in turn."""
    faces = synthetic(people=40, photos_per_person=4, size=(48, 48))
    folder.mkdir()
    rows = []
    for row, one in faces.table.iterrows():
        assert isinstance(row, int)
        Image.fromarray(faces.images[row][0]).save(folder / f"{one['key']}.png")
        rows.append([f"{one['key']}.png", spell(f"José {one['person']}", row), one["group"], *one[EYES]])
    table = pd.DataFrame(rows, columns=["path", "person", "group", *EYES])
    table.to_csv(folder / "manifest.csv", index=False)
    return folder


def everybody(splits: Splits) -> dict[str, set[str]]:
    """Who stands where."""
    return {name: {normal(person) for person in faces.identities.tolist()} for name, faces in splits.items()}


@pytest.mark.parametrize(
    "spell",
    [
        lambda name, row: name + " " * (row % 3),
        lambda name, row: unicodedata.normalize("NFD" if row % 2 else "NFC", name),
        lambda name, row: name.replace(" ", "  " if row % 2 else "\u00a0"),
    ],
)
def test_all_photos_of_a_person_are_forgotten_however_each_row_spells_the_name(
    tmp_path: Path, spell: Callable[[str, int], str]
) -> None:
    source = {
        "name": "folder",
        "path": folder_of(tmp_path / "photos", spell),
        "prepare": {"size": [32, 32]},
    }
    faces = loaded(source, out=tmp_path / "faces").faces
    assert len(set(faces.identities.tolist())) == 40
    drawn = split_faces(faces, Split(), Forget(people=1))
    name = str(drawn.forget.identities[0])
    for asked in (f"{name} ", unicodedata.normalize("NFD", name), name.replace(" ", "\t ")):
        (tmp_path / "who.txt").write_text(f"\ufeff{asked}\r\n", encoding="utf-8")
        splits = split_faces(faces, Split(), Forget(file=tmp_path / "who.txt"))
        assert len(splits.forget) == 4
        assert [part for part, people in everybody(splits).items() if name in people] == ["forget"]


def test_folders_of_two_spellings_are_one_person(tmp_path: Path) -> None:
    for folder in (NAME, unicodedata.normalize("NFD", NAME), f"{NAME} ", "Ann"):
        (tmp_path / folder).mkdir()
        Image.new("L", (9, 9)).save(tmp_path / folder / "0.png")
    table = read_photos(READERS["folder"], tmp_path)
    assert sorted(table["person"]) == ["Ann", NAME, NAME, NAME]
    assert table["key"].is_unique


def test_face_tables_of_all_origins_have_one_spelling(tmp_path: Path) -> None:
    odd = TABLE.assign(
        person=["Ann", "Ann ", "Bob", " Bob", "Cyd\u200b", "Cyd"], race=["a b", "a  b", "c", "c ", "d", "d"]
    )
    table = FaceTable(np.zeros((6, 1, 8, 8), np.uint8), odd).table
    assert table["person"].tolist() == ["Ann", "Ann", "Bob", "Bob", "Cyd", "Cyd"]
    assert table["race"].tolist() == ["a b", "a b", "c", "c", "d", "d"]
    assert table["key"].tolist() == odd["key"].tolist()
    found = loaded({"name": "packed", "path": packed(tmp_path / "packed", odd), "group_by": "race"})
    assert found.faces.groups.tolist() == ["a b", "a b", "c", "c", "d", "d"]
    assert set(found.faces.identities.tolist()) == {"Ann", "Bob", "Cyd"}


@pytest.mark.parametrize(
    "settings",
    [
        {"only": {"race": ["East  Asian "]}},
        {"group_where": {"race": ["East\u00a0Asian"]}},
        {"group": " mine "},
    ],
)
def test_a_plan_may_spell_a_group_as_it_likes(tmp_path: Path, settings: dict[str, Any]) -> None:
    found = loaded({"name": "packed", "path": packed(tmp_path / "packed"), **settings}).faces
    assert set(found.groups.tolist()) <= {"", "East Asian", "everyone else", "mine"}
    assert len(found) == (2 if "only" in settings else 6)
    assert "no face has" in refusal(loaded, {"name": "packed", "path": tmp_path / "packed", "only": {"race": ["Eest"]}})


def test_files_of_groups_scores_and_pairs_may_spell_keys_as_they_like(tmp_path: Path) -> None:
    """Where the name itself is not there; what is there under its own spelling is taken as it is."""
    stored, written = (unicodedata.normalize(form, "José/José_0001") for form in ("NFD", "NFC"))
    table = TABLE.assign(key=[stored, "José /José_0001", "b1", "b2", "c1", "c2"])
    keys = table["key"].tolist()
    (tmp_path / "groups.csv").write_text(
        "key,group\n" + "".join(f"{key},g {row}\n" for row, key in enumerate([written, *keys[1:]]))
    )
    found = loaded(
        {"name": "packed", "path": packed(tmp_path / "packed", table), "group_file": tmp_path / "groups.csv"}
    )
    assert found.faces.groups.tolist() == [f"predicted g {row}" for row in range(6)]
    (tmp_path / "scores.csv").write_text(
        "key,score\n" + "".join(f"{key},{row}\n" for row, key in enumerate([written, *keys[1:]]))
    )
    assert scores_of(np.array(keys), tmp_path / "scores.csv", "score").tolist() == [0, 1, 2, 3, 4, 5]
    (tmp_path / "pairs.txt").write_text(f"1 1\n{written.split('/')[0]}\t1\t1\nJosé\t1\tBob\t2\n")
    assert places(read_pairs(tmp_path / "pairs.txt"), keys).tolist() == [[0, 0], [0, -1]]


def test_a_known_name_is_found_by_any_spelling() -> None:
    find = among(["a", "a ", "José"])
    assert [find(name) for name in ("a", "a ", " a", unicodedata.normalize("NFD", "José"), "b")] == [
        "a", "a ", "a", "José", None,
    ]  # fmt: skip


def test_ids_that_may_be_one_person_are_warned_of(tmp_path: Path) -> None:
    assert spelt_alike(["1", "1.0", "01", "2", "-1", "11", "Ann", "Bob"]) == [["01", "1", "1.0"]]
    assert spelt_alike(["Ann Lee", "ann_lee", "Ann-Lee", "Anna Lee"]) == [["Ann Lee", "Ann-Lee", "ann_lee"]]
    assert spelt_alike([f"p{number:05d}" for number in range(500)]) == []
    assert spelling_warning(["1", "2"]) == ""
    assert "“1” and “1.0”" in spelling_warning(["1", "1.0"])
    faces = loaded({"name": "packed", "path": packed(tmp_path / "p", TABLE.assign(person=["1", "1.0", *"2345"]))}).faces
    (said,) = doubtful_names([("train", faces)])
    assert said.startswith("1 name has several spellings")


def test_people_of_a_parquet_file_are_whole_numbers_and_nobody_is_called_nan(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    for number in range(3):
        Image.new("L", (9, 9)).save(tmp_path / f"{number}.png")
    for people, expected in (
        ([1, 2, None], ["1", "2", ""]),
        (["a ", None, "b"], ["a", "", "b"]),
        ([7, 8, 8], ["7", "8", "8"]),
    ):
        pd.DataFrame({"path": [f"{number}.png" for number in range(3)], "person": people}).to_parquet(
            tmp_path / "manifest.parquet"
        )
        assert read_photos(READERS["folder"], tmp_path)["person"].tolist() == expected
