"""People are divided as asked: nobody twice, every group in its share, and no request that cannot be judged."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import faces_of, refusal
from efface.data.faces import Faces, Splits
from efface.data.split import UNTRAINED, people, split_faces
from efface.plan.tables import Forget, Split

FACES = faces_of({"A": 40, "B": 20})
SHARES = Split(public=0.1, val=0.1, strangers=0.15, test=0.25)
TRAINED_OF_A = 16


def identities(faces: Faces) -> set[str]:
    """Whose faces these are."""
    return set(faces.identities.tolist())


def keys(splits: Splits) -> dict[str, list[str]]:
    """Which face stands where."""
    return {name: faces.keys.tolist() for name, faces in splits.items()}


def told(faces: Faces, parts: dict[str, str]) -> Any:
    """(n,) the part of each face, "train" where `parts` do not say it of the person."""
    return np.array([parts.get(person, "train") for person in faces.identities.tolist()])


def test_every_face_stands_in_one_split_and_nobody_in_two() -> None:
    splits = split_faces(FACES, SHARES, Forget(share=0.5))
    assert Counter(key for column in keys(splits).values() for key in column) == Counter(FACES.keys.tolist())
    assert all(count == 1 for count in Counter(p for _, faces in splits.items() for p in identities(faces)).values())


def test_every_group_meets_its_shares() -> None:
    splits = split_faces(FACES, SHARES, Forget(share=0.25))
    found = {
        name: [len(identities(faces[np.flatnonzero(faces.groups == group)])) for group in ("A", "B")]
        for name, faces in splits.items()
    }
    assert [found[name] for name in UNTRAINED] == [[4, 2], [4, 2], [6, 3], [10, 5]]
    assert np.add(found["forget"], found["retain"]).tolist() == [TRAINED_OF_A, 8]
    assert sum(found["forget"]) == 6


def test_faces_of_a_split_stay_in_the_order_they_were_gathered_in() -> None:
    place = {key: row for row, key in enumerate(FACES.keys.tolist())}
    for column in keys(split_faces(FACES, SHARES, Forget(share=0.5))).values():
        rows = [place[key] for key in column]
        assert rows == sorted(rows)


def test_the_same_seed_divides_alike_and_another_otherwise() -> None:
    first, again = (keys(split_faces(FACES, SHARES, Forget(share=0.5))) for _ in range(2))
    other = keys(split_faces(FACES, SHARES.model_copy(update={"seed": 1}), Forget(share=0.5)))
    assert first == again
    assert all(first[name] != other[name] for name in first if first[name])


def test_a_group_is_divided_alike_whoever_else_is_there() -> None:
    alone = split_faces(faces_of({"A": 40}), SHARES, Forget(people=1))
    beside = split_faces(FACES, SHARES, Forget(people=1))
    assert identities(alone.test) == {person for person in identities(beside.test) if person.startswith("A")}


def test_a_share_of_nothing_leaves_a_split_empty() -> None:
    splits = split_faces(FACES, SHARES.model_copy(update={"public": 0.0}), Forget(share=0.5))
    assert len(splits.public) == 0
    assert len(splits.val) == 12


def test_people_stand_once_each_with_the_group_of_their_first_face() -> None:
    faces = replace(faces_of({"A": 2, "B": 1}), groups=np.array(["A", "B", "A", "A", "B", "B"]))
    names, groups = people(faces)
    assert names.tolist() == ["A0", "A1", "B0"]
    assert groups.tolist() == ["A", "A", "B"]


# Told by the data


def test_a_column_says_it_instead() -> None:
    parts = {"A0": "test", "A1": "strangers", "B0": "public", "B1": "val"}
    splits = split_faces(FACES, SHARES, Forget(people=5), told(FACES, parts))
    assert [identities(getattr(splits, name)) for name in UNTRAINED] == [{"B0"}, {"B1"}, {"A1"}, {"A0"}]
    assert len(splits.forget) + len(splits.retain) == len(FACES) - 8


def test_a_person_in_two_splits_is_refused_by_name() -> None:
    column = told(FACES, {"A0": "test", "A1": "strangers"})
    column[0] = "val"
    message = refusal(split_faces, FACES, SHARES, Forget(people=5), column)
    assert "'A0'" in message
    assert "'val' and 'test'" in message


def test_an_unknown_split_is_refused_with_the_face_and_the_nearest() -> None:
    message = refusal(split_faces, FACES, SHARES, Forget(people=5), told(FACES, {"A0": "test", "A1": "stranger"}))
    assert "face 'A1/0' has the unknown split 'stranger'" in message
    assert "did you mean 'strangers'?" in message


def test_a_column_without_strangers_is_refused() -> None:
    assert "'strangers'" in refusal(split_faces, FACES, SHARES, Forget(people=5), told(FACES, {"A0": "test"}))


# Who is forgotten


@pytest.mark.parametrize(
    ("forget", "count"),
    [
        (Forget(share=0.5), 12),
        (Forget(people=3), 3),
        (Forget(group="A", share=0.5), TRAINED_OF_A // 2),
        (Forget(group="A", people=5), 5),
        (Forget(group="A", share=1, whole_group=True), TRAINED_OF_A),
    ],
)
def test_as_many_are_forgotten_as_asked_of_whom_it_was_asked(forget: Forget, count: int) -> None:
    splits = split_faces(FACES, SHARES, forget)
    assert len(identities(splits.forget)) == count
    assert len(splits.forget) == 2 * count
    if forget.group:
        assert set(splits.forget.groups.tolist()) == {forget.group}


def test_exactly_the_people_of_a_file_are_forgotten(tmp_path: Path) -> None:
    trained = split_faces(FACES, SHARES, Forget(people=1))
    wanted = sorted(identities(trained.retain))[:3]
    file = tmp_path / "people.txt"
    file.write_text(f"\n  {wanted[0]}  \n{wanted[1]}\n\n{wanted[2]}\n{wanted[1]}\n", encoding="utf-8")
    assert sorted(identities(split_faces(FACES, SHARES, Forget(file=file)).forget)) == wanted


def test_a_file_that_names_nobody_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "people.txt"
    file.write_text("\n  \n", encoding="utf-8")
    assert "names nobody" in refusal(split_faces, FACES, SHARES, Forget(file=file))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert "absent.txt does not exist" in refusal(split_faces, FACES, SHARES, Forget(file=tmp_path / "absent.txt"))


def test_a_person_nobody_trained_on_is_refused_by_name(tmp_path: Path) -> None:
    tested = split_faces(FACES, SHARES, Forget(people=1)).test.identities[0]
    file = tmp_path / "people.txt"
    for person in (str(tested), "Nobody"):
        file.write_text(person, encoding="utf-8")
        assert f"'{person}' is nobody the model was trained on" in refusal(
            split_faces, FACES, SHARES, Forget(file=file)
        )


def test_a_misspelt_person_is_refused_with_the_nearest_where_few_are_known(tmp_path: Path) -> None:
    faces = faces_of({"A": 6})
    file = tmp_path / "people.txt"
    file.write_text("A4x", encoding="utf-8")
    column = told(faces, {"A0": "test", "A1": "strangers"})
    assert "did you mean 'A4'?" in refusal(split_faces, faces, SHARES, Forget(file=file), column)


def test_a_whole_group_is_refused_unless_it_is_asked_for() -> None:
    message = refusal(split_faces, FACES, SHARES, Forget(group="B", share=1))
    assert "group 'B'" in message
    assert "forget.whole_group = true" in message
    splits = split_faces(FACES, SHARES, Forget(group="B", share=1, whole_group=True))
    assert set(splits.retain.groups.tolist()) == {"A"}


def test_everyone_is_refused_even_so() -> None:
    assert "all 24 trained people" in refusal(split_faces, FACES, SHARES, Forget(share=1, whole_group=True))


def test_people_of_no_known_group_are_no_whole_group() -> None:
    faces = replace(FACES, groups=np.where(FACES.groups == "B", "", "A"))
    splits = split_faces(faces, SHARES, Forget(group="", share=1))
    assert {person[0] for person in identities(splits.forget)} == {"B"}
    assert {person[0] for person in identities(splits.retain)} == {"A"}


def test_an_unknown_group_is_refused_with_the_nearest() -> None:
    faces = replace(FACES, groups=np.where(FACES.groups == "B", "Asian", "Western"))
    message = refusal(split_faces, faces, SHARES, Forget(group="Asiann", share=0.5))
    assert "'Asiann'" in message
    assert "did you mean 'Asian'?" in message


@pytest.mark.parametrize("forget", [Forget(group="A", people=TRAINED_OF_A + 1), Forget(group="A", share=0.01)])
def test_more_or_fewer_people_than_there_are_is_refused(forget: Forget) -> None:
    assert f"expected 1 to {TRAINED_OF_A}" in refusal(split_faces, FACES, SHARES, forget)


@pytest.mark.parametrize(
    ("shares", "missing"), [({"strangers": 0.1, "test": 0.4}, "strangers"), ({"strangers": 0.5, "test": 0.05}, "test")]
)
def test_too_few_people_for_a_split_that_must_be_are_refused(shares: dict[str, float], missing: str) -> None:
    split = Split(public=0, val=0, **shares)
    message = refusal(split_faces, faces_of({"A": 4}), split, Forget(people=1))
    assert f"no face is left for '{missing}'" in message
    assert f"4 people are too few for split.{missing} = {shares[missing]}" in message


def test_nobody_left_to_train_on_is_refused() -> None:
    split = Split(public=0, val=0, strangers=0.5, test=0.49)
    assert "nobody is left to train on" in refusal(split_faces, faces_of({"A": 4}), split, Forget(people=1))
