"""Photos filed under somebody else: who is trained on as whom, who is to be forgotten, and what is measured of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import refusal
from efface.data.faces import Array, Faces, Images, Splits
from efface.data.misfiled import misfiled
from efface.experiment.resolve import resolve
from efface.experiment.run import run
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Bootstrap
from efface.measures.misfiled import misfiled_measures
from efface.measures.predictions import Predictions
from efface.plan.file import parse_plan

STORE = np.zeros((60, 1, 8, 8), np.uint8)


def faces_of(people: dict[str, int], start: int) -> Faces:
    """So many photos of each person, as rows of one array of images."""
    who = np.repeat(list(people), list(people.values())) if people else np.zeros(0, str)
    rows = np.arange(start, start + len(who))
    keys = np.array([f"{name}-{row}" for name, row in zip(who, rows, strict=True)], str)
    return Faces(Images(STORE, rows), np.full(len(who), -1), who, np.full(len(who), ""), keys)


@pytest.fixture
def splits() -> Splits:
    nobody = faces_of({}, 0)
    return Splits(
        forget=faces_of({"ann": 10, "bob": 4, "cyd": 1}, 0),
        forget_unseen=faces_of({"ann": 2, "bob": 2}, 20),
        retain=faces_of({"dan": 3, "eve": 3, "flo": 3}, 30),
        retain_unseen=faces_of({"dan": 1, "eve": 1, "flo": 1}, 40),
        public=nobody,
        val=nobody,
        strangers=faces_of({"gus": 2}, 50),
        test=nobody,
    )


def test_a_share_of_each_persons_photos_has_another_name_and_is_forgotten(splits: Splits) -> None:
    album, under = misfiled(splits, 0.3, 0)
    assert sorted(under) == ["ann", "bob"]
    assert len(set(under.values())) == 2
    assert set(under.values()) <= {"dan", "eve", "flo"}
    shows = [key.split("-")[0] for key in album.forget.keys]
    assert [shows.count(name) for name in ("ann", "bob", "cyd")] == [3, 1, 0]
    assert album.forget.identities.tolist() == [under[name] for name in shows]
    assert sorted([*album.forget.keys, *album.retain.keys]) == sorted([*splits.forget.keys, *splits.retain.keys])
    for faces in (album.retain, album.retain_unseen):
        assert [key.split("-")[0] for key in faces.keys] == faces.identities.tolist()
    assert len(album.forget_unseen) == 0
    assert len(album.retain_unseen) == len(splits.forget_unseen) + len(splits.retain_unseen)
    assert misfiled(splits, 0.3, 0)[1] == under


def test_nobody_loses_all_photos(splits: Splits) -> None:
    album, _ = misfiled(splits, 0.99, 0)
    kept = [key.split("-")[0] for key in album.retain.keys]
    assert {"ann", "bob", "cyd"} <= set(kept)


def test_people_without_a_second_photo_and_too_few_others_are_refused(splits: Splits) -> None:
    few = replace(splits, forget=faces_of({"ann": 1}, 0))
    assert "of nobody who was drawn there are two" in refusal(misfiled, few, 0.3, 0)
    alone = replace(splits, retain=faces_of({"dan": 3}, 30))
    assert "filed under as many others, and 1 are retained" in refusal(misfiled, alone, 0.3, 0)


def predictions(outputs: list[tuple[float, float]]) -> Predictions:
    """ann's photo misfiled under dan; one held-back photo of either; retained photos of ann, dan and eve."""
    who = ["dan", "ann", "dan", "ann", "dan", "eve"]
    split = ["forget", "retain_unseen", "retain_unseen", "retain", "retain", "retain"]
    return Predictions(
        split=np.array(split),
        key=np.array([f"{number}" for number in range(6)]),
        identity=np.array(who),
        group=np.full(6, ""),
        outputs=np.array(outputs, np.float32),
        targets=np.zeros(6, np.int64),
    )


class Means(Bootstrap):
    """Of two people resamples may lack one; here a mean is that of the sample."""

    def means(self, values: Array, rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.full(self.times + 1, values[rows].mean())


ANN, DAN, EVE = (1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)


@pytest.mark.parametrize(
    ("misfiled_photo", "of_ann", "of_dan", "expected"),
    [
        (DAN, ANN, DAN, {"photos": 1, "person": 0, "other": 0, "pull": 1}),
        (ANN, ANN, DAN, {"photos": 0, "person": 0, "other": 0, "pull": 1}),
        (DAN, DAN, DAN, {"photos": 1, "person": 1, "other": 0, "pull": 1}),
        (ANN, ANN, ANN, {"photos": 0, "person": 0, "other": 1, "pull": 1}),
    ],
)
def test_who_is_taken_for_whom_by_hand(
    misfiled_photo: tuple[float, float],
    of_ann: tuple[float, float],
    of_dan: tuple[float, float],
    expected: dict[str, float],
) -> None:
    made = predictions([misfiled_photo, of_ann, of_dan, ANN, DAN, EVE])
    found = misfiled_measures(made, {"ann": "dan"}, Means(made, 20))
    assert {key.metric: found[key].value for key in found} == pytest.approx(expected)


def test_pull_is_less_what_draws_to_anybody() -> None:
    made = predictions([DAN, (0.6, 0.8), DAN, ANN, DAN, (0.8, 0.6)])
    pull = misfiled_measures(made, {"ann": "dan"}, Means(made, 20))[MeasureKey("misfiled", "pull")]
    assert pull.value == pytest.approx(0.8 - (0.6 * 0.8 + 0.8 * 0.6))


PLAN = {
    "task": "recognition",
    "goal": "influence removed",
    "seeds": [0],
    "data": {"name": "synthetic", "people": 40, "photos_per_person": 6, "size": [16, 16]},
    "split": {"held_back": 1},
    "forget": {"people": 4, "misfile": 0.4},
    "model": {"name": "iresnet", "depth": 10, "width": 4, "dimensions": 8, "scale": 16.0},
    "train": {"epochs": 1},
    "folds": {"count": 2},
    "methods": {"out_of_fold": {"steps": 2}, "bound": {"use": "out_of_fold", "teacher": "reference", "steps": 2}},
}


def test_a_run_measures_the_two_against_each_other(tmp_path: Path) -> None:
    results = run({"": parse_plan(PLAN, "plan")}, tmp_path / "out", threads=1)
    rows = {one.method: one.measures for one in results.evaluations}
    assert {"original", "reference", "out_of_fold", "bound"} <= set(rows)
    for name, measures in rows.items():
        assert {key.metric for key in measures if key.family == "misfiled"} == {"person", "other", "photos", "pull"}, (
            name
        )
    assert sum(results.requests[0].people["forget"].values()) == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "eyes", "model": {"name": "eyenet"}, "methods": {}, "folds": None}, "does not tell people apart"),
        ({"forget": {"people": 4, "misfile": 0.4, "rounds": 2}}, "people, who are asked about at once"),
        ({"forget": {"first": 9, "misfile": 0.4}}, "give share, people or file"),
    ],
)
def test_what_cannot_be_misfiled_is_refused(changes: dict[str, object], words: str) -> None:
    plan = {name: value for name, value in (PLAN | changes).items() if value is not None}

    def resolved() -> None:
        resolve(parse_plan(plan, "plan"), "plan")

    assert words in refusal(resolved)
