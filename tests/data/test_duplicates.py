"""Identical pictures make one person of several names, and are counted where they stand on two sides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import TABLE, faces_of, loaded, packed, refusal
from efface.data.duplicates import aliases, copies_between, in_one_part, pictures, renamed, said
from efface.data.faces import Faces, Images, Splits
from efface.data.split import split_faces
from efface.plan.tables import Forget, Split


def test_pictures_have_one_number_where_every_pixel_is_the_same() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2500, 1, 4, 4), dtype=np.uint8)
    images[[3, 2000]] = images[7]
    images[9] = images[7]
    images[9, 0, 3, 3] ^= 1
    found = pictures(Images(images, np.arange(2499, -1, -1)))[::-1]
    _, expected = np.unique(images.reshape(2500, -1), axis=0, return_inverse=True)
    assert ((found[:, None] == found[None]) == (expected[:, None] == expected[None])).all()
    assert len(pictures(Images(images, np.zeros(0, np.int64)))) == 0


def test_names_that_share_a_picture_or_each_with_a_third_are_of_one_person() -> None:
    """Against a loop that renames until nothing changes."""
    rng = np.random.default_rng(0)
    names, numbers = np.array([f"p{n:02d}" for n in rng.integers(0, 40, 120)]), rng.integers(0, 130, 120)
    numbers[::9] = -1
    person = names.copy()
    for _ in range(40):
        for number in range(130):
            for one in set(person[numbers == number]):
                person[person == one] = min(person[numbers == number])
    found = aliases(names, numbers)
    assert renamed(names, found).tolist() == person.tolist()
    assert len(found) == len(set(names)) - len(set(person)) > 0
    assert aliases(names, np.full(120, -1)) == {}


def test_a_person_in_several_parts_stands_where_they_were_trained_on() -> None:
    identities = np.array(["a", "a", "b", "b", "c", "d", "d", "e"])
    parts = np.array(["strangers", "train", "public", "test", "public", "val", "strangers", "nonsense"])
    expected = ["train", "train", "test", "test", "public", "strangers", "strangers", "nonsense"]
    assert in_one_part(parts, identities, set("abcde")).tolist() == expected
    assert in_one_part(parts, identities, {"b"}).tolist() == [*parts[:2], "test", "test", *parts[4:]], (
        "nobody else moves"
    )


def copied(faces: Faces, from_: int, *to: int) -> Faces:
    """The faces with one picture in the place of others."""
    store = faces.images.store.copy()
    store[list(to)] = store[from_]
    return replace(faces, images=Images(store, faces.images.rows))


def test_copies_are_counted_between_the_sides_they_matter_between() -> None:
    faces = faces_of({"A": 60}, photos=2)
    splits = split_faces(faces, Split(held_back=1, public=0.2, val=0.1), Forget(share=0.3))
    at = {name: part.images.rows for name, part in splits.items()}
    faces = copied(faces, at["forget"][0], at["retain"][0], at["retain"][1], at["strangers"][0])
    faces = copied(faces, at["public"][0], at["test"][0], at["public"][1])
    faces = copied(faces, at["forget_unseen"][1], at["forget"][1])
    assert copies_between(splits) == [], "nobody looked"
    faces = replace(faces, pictures=pictures(faces.images))
    splits = Splits(**{name: faces[rows] for name, rows in at.items()})
    found = {(one.side, one.other): one.photos for one in copies_between(splits)}
    for (side, other), count in found.items():
        others = ("forget", "retain") if other == "trained" else (other,)
        theirs = [image.tobytes() for name in others for image in getattr(splits, name).images[:]]
        assert count == sum(image.tobytes() in theirs for image in getattr(splits, side).images[:])
    assert {pair for pair, count in found.items() if count} == {
        ("forget", "retain"),
        ("forget_unseen", "trained"),
        ("strangers", "trained"),
        ("public", "test"),
    }
    sentences = said(copies_between(splits), 2, 58)
    assert sentences[0].startswith("60 names are of 58 people: 2 of them")
    assert (
        sentences[1]
        == f"1 of {len(splits.forget)} photos of the forgotten have an identical copy among those of the retained."
    )
    assert len(sentences) == 5
    assert said([], 0, 60) == []


TWINS = np.array([0, 1, 0, 3, 4, 5], np.uint8)
"""What fills each picture of the table: the first of Ann and the first of Bob are the same."""


def twins(folder: Path) -> Path:
    from efface.preparation.packed import write_packed

    images = np.broadcast_to(TWINS[:, None, None, None], (6, 1, 6, 8))
    write_packed(
        folder, [images], TABLE, shape=(1, 6, 8), about={"name": "mufac", "title": "", "licence": "", "home": ""}
    )
    return folder


def test_a_source_says_what_becomes_of_duplicates_and_mufac_merges(tmp_path: Path) -> None:
    source = {"name": "packed", "path": twins(tmp_path / "twins")}
    merged = loaded(source)
    assert merged.faces.identities.tolist() == ["Ann"] * 4 + ["Cyd"] * 2
    assert merged.aliases == {"Bob": "Ann"}
    warned = loaded(source | {"duplicates": "warn"})
    assert warned.faces.identities.tolist() == list(TABLE["person"])
    assert warned.faces.pictures is not None
    assert warned.faces.pictures[0] == warned.faces.pictures[2] != warned.faces.pictures[1]
    ignored = loaded(source | {"duplicates": "ignore"})
    assert ignored.faces.pictures is None
    elsewhere = loaded({"name": "packed", "path": packed(tmp_path / "plain")}, source)
    assert elsewhere.faces.identities.tolist() == ["Ann"] * 4 + ["Cyd"] * 2 + ["Ann"] * 4 + ["Cyd"] * 2
    mixed = loaded({"name": "packed", "path": packed(tmp_path / "other"), "duplicates": "ignore"}, source)
    assert mixed.faces.pictures is not None
    assert mixed.faces.pictures[:6].tolist() == [-1] * 6


def test_who_belongs_together_may_stand_in_another_column(tmp_path: Path) -> None:
    found = loaded({"name": "packed", "path": packed(tmp_path / "packed"), "person_by": "race", "per_person": 2})
    assert found.faces.identities.tolist() == ["East Asian", "East Asian", "White", "White", "", ""]
    wrong = {"name": "packed", "path": packed(tmp_path / "again"), "person_by": "family"}
    assert "data.person_by: no column 'family'" in refusal(loaded, wrong)


def test_a_list_of_people_may_use_any_of_their_names(tmp_path: Path) -> None:
    faces = faces_of({"A": 40})
    (tmp_path / "them.txt").write_text("B7\nA3\nA3\n")
    trained = split_faces(faces, Split(), Forget(share=0.5))
    present = sorted({*trained.forget.identities.tolist(), *trained.retain.identities.tolist()})
    (tmp_path / "them.txt").write_text(f"elsewhere\n{present[0]}\n{present[1]}\n")
    asked = Forget(file=tmp_path / "them.txt")
    splits = split_faces(faces, Split(), asked, aliases={"elsewhere": present[1]})
    assert sorted(set(splits.forget.identities.tolist())) == present[:2]
    assert "'elsewhere' is nobody" in refusal(split_faces, faces, Split(), asked)


@pytest.mark.parametrize("way", ["merge", "warn"])
def test_a_run_counts_what_stands_twice_and_divides_whole_people(way: str, tmp_path: Path) -> None:
    """Families whose members stand in two parts by a column: merged, they are trained on as a whole."""
    from efface.experiment.run import run
    from efface.plan.file import parse_plan
    from efface.preparation.packed import write_packed

    rng = np.random.default_rng(0)
    table = TABLE.loc[np.zeros(80, int)].reset_index(drop=True)
    table = table.assign(key=[f"k{n}" for n in range(80)], person=[f"p{n // 2:02d}" for n in range(80)])
    table["part"] = np.repeat(["train", "strangers", "test", "public"], [40, 20, 12, 8])
    images = rng.integers(0, 256, (80, 1, 24, 24), dtype=np.uint8)
    images[44] = images[0]
    about = {"name": "test", "title": "", "licence": "", "home": ""}
    write_packed(tmp_path / "packed", [images], table, shape=(1, 24, 24), about=about)
    plan = {
        "task": "eyes",
        "goal": "influence removed",
        "data": {"name": "packed", "path": str(tmp_path / "packed"), "duplicates": way},
        "split": {"by": "part"},
        "forget": {"people": 5},
        "model": {"name": "eyenet", "widths": [4, 6, 8], "hidden": 16},
        "train": {"epochs": 1},
        "methods": {"finetune": {"epochs": 1}},
    }
    (request,) = run({"": parse_plan(plan, "plan")}, tmp_path / "out", threads=1).requests
    strangers = sum(request.faces["strangers"].values())
    if way == "merge":
        assert strangers == 18
        assert any("40 names are of 39 people" in one for one in request.warnings)
    else:
        assert strangers == 20
        assert request.warnings[0].startswith("The original is not better than a constant prediction"), "of noise"
        assert request.warnings[1:] == [
            "1 of 20 photos of strangers have an identical copy among those of those trained on."
        ]
