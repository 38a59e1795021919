"""A whole recognition run on invented faces: divided, trained, forgotten, verified, reported."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from conftest import ROOT, faces_of, key, not_announced, plan_with, recognised, refusal
from efface.data.faces import Faces, FaceTable
from efface.data.split import split_faces
from efface.data.vectors import units
from efface.data.verification import verification_sets
from efface.datasets import GENERATORS
from efface.experiment.resolve import resolve
from efface.experiment.run import run
from efface.measure_key import MeasureKey
from efface.measures.bootstrap import Bootstrap, Measure
from efface.measures.predictions import Predictions
from efface.plan.file import overlaid, parse_plan
from efface.plan.tables import Forget, Split, Verify
from efface.results import Results
from efface.tasks.recognition import RECOGNITION, compactness, impostor_rate, number_the_trained
from efface.testing.layouts import write_bin, write_rec

PHOTOS = 6


def write_photos(folder: Path, people: int, photos: int = PHOTOS) -> FaceTable:
    """Invented people as a tree of photos in LFW's names."""
    face_table = GENERATORS["synthetic"].make(people=people, photos_per_person=photos, size=(24, 24), colour=True)
    for image, person, place in zip(face_table.images, face_table.table["person"], range(len(face_table)), strict=True):
        (folder / person).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
        picture.save(folder / person / f"{person}_{place % photos + 1:04d}.png")
    return face_table


def write_pairs(path: Path, people: list[str], folds: int = 10) -> None:
    """A protocol of as many pairs of one person as of two, among all people."""
    lines = [f"{folds}\t{len(people) // folds}"]
    for fold in np.array_split(people[: len(people) // folds * folds], folds):
        lines += [f"{name}\t1\t2" for name in fold]
        lines += [f"{name}\t1\t{other}\t3" for name, other in zip(fold, np.roll(fold, 1), strict=True)]
    path.write_text("\n".join(lines) + "\n")


def plan_in(folder: Path, **changes: Any) -> dict[str, Any]:
    """A plan on the photos in `folder`."""
    plan: dict[str, Any] = {
        "task": "recognition",
        "goal": "unrecognisable",
        "seeds": [0, 1],
        "data": {
            "name": "lfw",
            "path": str(folder / "photos"),
            "prepare": {"size": [24, 24], "colour": True, "crop": "whole", "eyes": "none"},
        },
        "split": {"photos": PHOTOS, "held_back": 2, "strangers": 0.2, "test": 0.2},
        "forget": {"share": 0.25},
        "verify": [
            {"name": "pairs", "pairs": str(folder / "pairs.txt")},
            {"name": "bin", "bin": str(folder / "x.bin")},
        ],
        "model": {"name": "iresnet", "depth": 10, "width": 4, "dimensions": 16, "scale": 16.0},
        "train": {"epochs": 6, "batch": 16, "optimiser": "sgd", "lr": 0.05, "milestones": [4], "augment": "flip"},
        "methods": {"cure": {"epochs": 2, "clusters": 4, "retain_clusters": 8}, "scrub": {"epochs": 2}},
    }
    return overlaid(plan, changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recognition")
    face_table = write_photos(folder / "photos", 60)
    write_pairs(folder / "pairs.txt", sorted(set(face_table.table["person"])))
    write_bin(folder / "x.bin", np.asarray(face_table.images[:40]), [True, False] * 10)
    return folder


@pytest.fixture(scope="module")
def finished(folder: Path) -> Results:
    return run({"": parse_plan(plan_in(folder), "plan")}, folder / "out")


@pytest.mark.slow
def test_check_knows_what_a_recogniser_s_run_measures(folder: Path, finished: Results) -> None:
    assert finished.evaluations
    assert not_announced({"": parse_plan(plan_in(folder), "plan")}, folder / "out") == set()


@pytest.mark.slow
def test_every_row_has_what_the_field_measures_and_what_no_head_can_hide(finished: Results) -> None:
    for one in finished.summaries:
        for name in (
            "head/ues",
            "fresh head/ues",
            "rows deleted/ues",
            "head/accuracy/forget",
            "identification/rank1/forget",
            "identification/rank1/strangers",
            "identification/rank1/retain",
            "relearn/prototype/k=1/forget",
            "relearn/linear/k=5/strangers",
            "compactness/forget/all",
            "impostor_rate/test/all",
            "verification/pairs/accuracy",
            "verification/bin/accuracy",
            "head/completeness/forget",
            "weights/distance",
            "membership/auc/photo",
        ):
            assert name in one.measures, name
    rows = {one.method: one.measures for one in finished.summaries}
    assert rows["original"][key("head/completeness/forget")].value == 1
    assert rows["original"][key("rows deleted/accuracy/forget")].value == 0
    assert rows["reference"][key("head/accuracy/forget")].value == 0


@pytest.mark.slow
def test_no_photo_of_a_trained_person_is_in_a_verification_pair(folder: Path, finished: Results) -> None:
    request = finished.requests[0]
    assert request.pairs["pairs"] + request.pairs_left_out["pairs"] == 120
    assert request.pairs["bin"] == 20
    assert 0 < request.pairs["pairs"] < 70  # some two of five people are never trained on
    assert sum(request.faces["forget_unseen"].values()) == 2 * sum(request.people["forget"].values())


@pytest.mark.slow
def test_the_report_shows_the_table_of_the_field_and_the_matches(folder: Path, finished: Results) -> None:
    page = (folder / "out" / "report.html").read_text(encoding="utf-8")
    assert "UES, fresh head" in page
    assert "Nearest training photo under each model" in page
    assert "same person" in page or "somebody else" in page
    assert "balanced accuracy, pairs" in page
    assert not any(f">{name}" in page for name in ("p00000", "p00001"))


@pytest.mark.slow
def test_a_second_run_does_no_work(folder: Path, finished: Results) -> None:
    before = (folder / "out" / "results.json").stat().st_mtime_ns
    assert run({"": parse_plan(plan_in(folder), "plan")}, folder / "out").signature == finished.signature
    assert (folder / "out" / "results.json").stat().st_mtime_ns == before


@pytest.mark.slow
def test_weights_of_a_backbone_get_a_head_from_the_trained_people(folder: Path, finished: Results) -> None:
    import torch

    from efface.models.load import read_weights

    original = next((folder / "out" / "models").glob("original-seed0-*.safetensors"))
    backbone = {
        name.removeprefix("backbone."): value
        for name, value in read_weights(original)[0].items()
        if name.startswith("backbone.")
    }
    torch.save(backbone, folder / "backbone.pth")
    given = plan_in(folder, model={"weights": str(folder / "backbone.pth")}, seeds=[0], methods={"cure": {"epochs": 1}})
    del given["methods"]["scrub"]
    again = run({"": parse_plan(given, "plan")}, folder / "given")
    rows = {one.method: one.measures for one in again.summaries}
    before = next(one.measures for one in finished.evaluations if (one.method, one.seed) == ("original", 0))
    assert (
        rows["original"][key("identification/rank1/forget")].value == before[key("identification/rank1/forget")].value
    )
    fresh = before[key("fresh head/accuracy/retain")].value
    assert rows["original"][key("head/accuracy/retain")].value == pytest.approx(fresh, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": {"name": "eyenet"}}, "model 'eyenet' does not answer task 'recognition'"),
        ({"methods": {"cure": {"clusters": 10_000}}}, "10000 clusters of"),
        ({"split": {"photos": PHOTOS + 1}}, "nobody is left to train on"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(folder: Path, tmp_path: Path, changes: Any, words: str) -> None:
    plan = plan_in(folder, **changes, seeds=[0], train={"epochs": 1})
    if "model" in changes:
        plan["model"] = changes["model"]
    assert words in refusal(lambda: run({"": parse_plan(plan, "plan")}, tmp_path / "out"))


@pytest.mark.slow
def test_a_plan_sets_the_weight_of_ues_and_the_threshold_of_recall(folder: Path) -> None:
    """UES is the weighted fall of two accuracies; everybody is recalled above no confidence, and nobody above all."""
    before = recognised()
    after = replace(before, outputs=np.where(before.split[:, None] == "forget", -before.outputs, before.outputs))

    def measured(**measures: float) -> dict[MeasureKey, Measure]:
        resolved = resolve(parse_plan(plan_in(folder, measures=measures), "plan"), "plan")
        assert resolved.filled()["measures"] == {"ues_lambda": 0.5, "recall_threshold": 0.5} | measures
        return resolved.task.more(after, before, Bootstrap(before))

    found, plain = measured(ues_lambda=0.8, recall_threshold=0.0), measured()
    assert found[key("head/ues")].value == pytest.approx(0.8)
    assert plain[key("head/ues")].value == pytest.approx(0.5)
    assert found[key("head/membership_recall/forget")].value == 1
    assert measured(recall_threshold=1.0)[key("head/membership_recall/forget")].value == 0
    for wrong, words in (({"ues_lamda": 0.5}, "did you mean 'ues_lambda'"), ({"ues_lambda": 1.5}, "ues_lambda")):
        assert words in refusal(measured, **wrong)


def test_a_task_without_settings_of_its_measures_refuses_them() -> None:
    plan = parse_plan(plan_with(measures={"ues_lambda": 0.5}), "plan")
    assert "measures: unknown setting 'ues_lambda'" in refusal(resolve, plan, "plan")


@pytest.mark.slow
def test_verify_belongs_to_recognition(folder: Path) -> None:
    eyes = {
        "task": "eyes",
        "goal": "influence removed",
        "data": {"name": "synthetic"},
        "forget": {"share": 0.5},
        "model": {"name": "eyenet"},
        "verify": [{"name": "x", "pairs": "pairs.txt"}],
    }
    assert "verify is for tasks that answer with embeddings" in refusal(
        lambda: run({"": parse_plan(eyes, "plan")}, folder / "nothing")
    )


# Who stands where


def test_people_with_few_photos_are_never_trained_on() -> None:
    faces = faces_of({"A": 30}, photos=5)
    few = np.isin(faces.identities, ["A0", "A1", "A2"]) & (faces.keys > np.char.add(faces.identities, "/2"))
    splits = split_faces(faces[np.flatnonzero(~few)], Split(photos=4, held_back=2), Forget(share=0.5))
    assert {"A0", "A1", "A2"} <= set(splits.test.identities.tolist())
    for unseen, seen in ((splits.forget_unseen, splits.forget), (splits.retain_unseen, splits.retain)):
        names, counts = np.unique(unseen.identities, return_counts=True)
        assert set(names.tolist()) == set(seen.identities.tolist())
        assert set(counts.tolist()) == {2}
        assert not set(unseen.keys.tolist()) & set(seen.keys.tolist())


def test_one_photo_of_each_person_is_never_held_back() -> None:
    splits = split_faces(faces_of({"A": 30}, photos=2), Split(held_back=5), Forget(share=0.5))
    assert len(splits.retain) == len(np.unique(splits.retain.identities))


def test_a_source_may_stand_in_one_split_as_a_whole() -> None:
    faces = faces_of({"A": 20, "B": 10})
    fixed = np.where(faces.groups == "B", "test", "")
    splits = split_faces(faces, Split(test=0.0), Forget(share=0.5), fixed=fixed)
    assert set(splits.test.groups.tolist()) == {"B"}
    fixed[0] = "test"
    assert "data.split: a person stands in two splits" in refusal(
        split_faces, faces, Split(test=0.0), Forget(share=0.5), fixed=fixed
    )


def test_trained_people_are_numbered_and_nobody_else() -> None:
    divided = split_faces(faces_of({"A": 30}, photos=4), Split(held_back=1), Forget(share=0.5))
    splits, names = number_the_trained(divided, ())
    trained = sorted({*splits.forget.identities.tolist(), *splits.retain.identities.tolist()})
    assert list(names) == trained
    for part in (splits.forget, splits.forget_unseen, splits.retain, splits.retain_unseen):
        assert [trained[number] for number in part.targets.tolist()] == part.identities.tolist()
    assert set(splits.strangers.targets.tolist()) | set(splits.test.targets.tolist()) == {-1}


# Scores of single faces


def outcomes_from(faces: Faces, outputs: np.ndarray) -> Predictions:
    return Predictions(
        np.full(len(faces), "test"), faces.keys, faces.identities, faces.groups, outputs, np.full(len(faces), -1)
    )


def test_compactness_and_lookalikes_are_those_of_loops() -> None:
    faces = faces_of({"A": 6, "B": 5}, photos=3)[:32]  # the last person has two photos, none has one
    seen = outcomes_from(faces, np.random.default_rng(0).normal(size=(32, 5)))
    alike = units(seen.outputs).astype(float) @ units(seen.outputs).astype(float).T
    near, close = impostor_rate(seen, block=7), compactness(seen)
    for row in range(32):
        own = [alike[row, other] for other in range(32) if other != row and seen.identity[other] == seen.identity[row]]
        others = [
            alike[row, other]
            for other in range(32)
            if seen.identity[other] != seen.identity[row] and seen.group[other] == seen.group[row]
        ]
        assert close[row] == pytest.approx(np.mean(own), abs=1e-6)
        assert near[row] == pytest.approx(np.mean([one >= np.mean(own) for one in others]))


def test_an_only_photo_has_no_score() -> None:
    faces = faces_of({"A": 4}, photos=1)
    seen = outcomes_from(faces, np.eye(4))
    assert np.isnan(impostor_rate(seen)).all()
    assert np.isnan(compactness(seen)).all()
    assert np.isnan(RECOGNITION.signal.of(seen)).all()


# Verification sets


def test_pairs_are_found_by_name_and_carry_the_worse_quality(tmp_path: Path) -> None:
    faces = faces_of({"A": 20}, photos=6)
    split = [key.split("/") for key in faces.keys.tolist()]
    names = np.array([f"{person}/{person}_{int(place) + 1:04d}" for person, place in split])
    faces = replace(faces, keys=np.char.add("0:", names))
    splits = split_faces(faces, Split(photos=6), Forget(share=0.3))
    write_pairs(tmp_path / "pairs.txt", [f"A{number}" for number in range(20)])
    scores = np.random.default_rng(0).random(len(names))
    pd.DataFrame({"key": names, "score": scores}).to_csv(tmp_path / "scores.csv", index=False)
    (found,) = verification_sets(
        [Verify(name="x", pairs=tmp_path / "pairs.txt", quality=tmp_path / "scores.csv")], faces, splits
    )
    trained = {*splits.forget.identities.tolist(), *splits.retain.identities.tolist()}
    assert not trained & {*faces.identities[found.first].tolist(), *faces.identities[found.second].tolist()}
    assert (found.same == (faces.identities[found.first] == faces.identities[found.second])).all()
    assert found.quality == pytest.approx(np.minimum(scores[found.first], scores[found.second]), abs=1e-6)
    assert len(found) + found.left_out == 40


def test_pairs_are_divided_at_a_share_of_themselves_or_at_the_score_of_the_trained(tmp_path: Path) -> None:
    """Of a set's twelve photos, scored 0 to 11, pair i has the worse one 2 i; the trained's scores are 0 to 99."""
    faces = faces_of({"A": 40}, photos=5, shape=(3, 8, 8))
    splits = split_faces(faces, Split(held_back=1), Forget(share=0.3))
    write_bin(tmp_path / "x.bin", faces.images[:12], [True, False] * 3)
    pd.DataFrame({"key": np.arange(12), "score": np.arange(12)}).to_csv(tmp_path / "bin.csv", index=False)
    trained = np.isin(faces.identities, [*splits.forget.identities, *splits.retain.identities])
    scores = np.where(trained, np.cumsum(trained) - 1, 10_000)
    pd.DataFrame({"key": faces.keys, "score": scores}).to_csv(tmp_path / "all.csv", index=False)

    def poor(**settings: Any) -> Any:
        asked = Verify(name="x", bin=tmp_path / "x.bin", quality=tmp_path / "bin.csv", **settings)
        (found,) = verification_sets([asked], faces, splits)
        assert found.quality.tolist() == [0, 2, 4, 6, 8, 10]
        answer: list[bool] = found.poor.tolist()
        return answer

    assert poor() == [True] * 3 + [False] * 3
    assert poor(below=0.2) == [True] * 2 + [False] * 4
    cut = 0.05 * (trained.sum() - 1)
    assert poor(below=0.05, quality_of_trained=tmp_path / "all.csv") == [2 * pair <= cut for pair in range(6)]
    unscored = Verify(name="x", bin=tmp_path / "x.bin")
    assert not verification_sets([unscored], faces, splits)[0].poor.any()
    few = pd.read_csv(tmp_path / "bin.csv").iloc[1:]
    few.to_csv(tmp_path / "bin.csv", index=False)
    assert "no row for photo '0'" in refusal(poor)


def test_a_protocol_of_other_people_is_refused(tmp_path: Path) -> None:
    faces = faces_of({"A": 20}, photos=6)
    write_pairs(tmp_path / "pairs.txt", [f"B{number}" for number in range(20)])
    message = refusal(
        verification_sets,
        [Verify(name="x", pairs=tmp_path / "pairs.txt")],
        faces,
        split_faces(faces, Split(), Forget(share=0.3)),
    )
    assert "0 of the 40 pairs" in message
    assert "40 pairs name a photo that is not" in message


# The plan at full size


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_full_plan_takes_its_first_steps_on_a_record_set_of_the_real_layout(tmp_path: Path) -> None:
    from efface.plan.file import read_plan

    (plan,) = read_plan(ROOT / "plans" / "recognition_full.toml").values()
    face_table = GENERATORS["synthetic"].make(people=16, photos_per_person=4, size=(112, 112), colour=True)
    people = np.unique(face_table.table["person"], return_inverse=True)[1].tolist()
    write_rec(tmp_path / "casia", np.asarray(face_table.images), people)
    for one in plan.verify:
        write_bin(tmp_path / f"{one.name}.bin", np.asarray(face_table.images[:40]), [True, False] * 10)
    raw = overlaid(
        plan.model_dump(exclude_none=True),
        {
            "seeds": [0],
            "split": {"strangers": 0.13, "test": 0.13},
            "forget": {"people": 4},
            "train": {"epochs": 5, "batch": 12},
        },
    )  # with fewer, the running statistics of a hundred layers are nonsense
    raw["data"] = [{**raw["data"][0], "path": str(tmp_path / "casia")}]
    raw["verify"] = [{"name": one.name, "bin": str(tmp_path / f"{one.name}.bin")} for one in plan.verify]
    raw["methods"] = {"cure": {"use": "cure", "epochs": 1, "batch": 8, "clusters": 3, "retain_clusters": 5}}
    results = run({"": parse_plan(raw, "plan")}, tmp_path / "out")
    assert results.requests[0].pairs == {"LFW": 20, "AgeDB-30": 20, "CFP-FP": 20}
    rows = {one.method: one.measures for one in results.summaries}
    ues = rows["cure"][key("head/ues")].value
    assert ues is None or math.isfinite(ues)
    assert rows["cure"][key("weights/distance")].value
